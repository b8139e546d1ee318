/**
 * `flashtile/compat`: signatures that people know, from flash-attention, PyTorch and Hugging Face, in front of the
 * kernels or, through the functions that end in `Of`, of any other implementation: the oracle, say.
 *
 * @module flashtile/compat
 */
import { attention } from "../index.ts";
import { type FlashAttn, flashAttnOf } from "./flashattn.ts";
import { type Sdpa, sdpaOf } from "./sdpa.ts";

export { fromAttentionMask } from "./attentionmask.ts";
export { type FlashAttn, flashAttnOf, type FlashAttnOptions, type WithProbabilities } from "./flashattn.ts";
export type { CacheOptions } from "./kvcache.ts";
export type { Attention } from "./names.ts";
export { type Sdpa, sdpaOf, type SdpaOptions } from "./sdpa.ts";

/**
 * flash-attention's functions on the deterministic kernels: `func`, `varlenFunc`, `withKvCache`.
 *
 * @example
 * ```ts
 * import { flashAttn } from "flashtile/compat";
 * const x = { data: new Float32Array(4 * 2 * 8).fill(1), shape: [1, 4, 2, 8] }; // [B,N,H,D]
 * console.log(flashAttn.func(x, x, x, { causal: true }).shape); // [ 1, 4, 2, 8 ]
 * ```
 */
export const flashAttn: FlashAttn = flashAttnOf(attention);

/**
 * PyTorch's scaled_dot_product_attention on the deterministic kernels.
 *
 * @example
 * ```ts
 * import { sdpa } from "flashtile/compat";
 * const x = { data: new Float32Array(2 * 4 * 8).fill(1), shape: [1, 2, 4, 8] }; // [B,H,N,D]
 * console.log(sdpa(x, x, x, { isCausal: true }).shape); // [ 1, 2, 4, 8 ]
 * ```
 */
export const sdpa: Sdpa = sdpaOf(attention);
