/** Other people's signatures over the oracle. */
import { type FlashAttn, flashAttnOf } from "../compat/flashattn.ts";
import { type Sdpa, sdpaOf } from "../compat/sdpa.ts";
import { attention } from "./attention.ts";

/** flash-attention's functions: `flashAttn.func`, `.varlenFunc`, `.withKvCache`. */
export const flashAttn: FlashAttn = flashAttnOf(attention);

/** PyTorch's scaled_dot_product_attention. */
export const sdpa: Sdpa = sdpaOf(attention);
