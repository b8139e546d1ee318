/**
 * `flashtile/relaxed`: the fused multiply-add build, apart so that nobody ships what they don't use.
 *
 * @module flashtile/relaxed
 */
import { lacksRelaxed } from "./wasm/detect.ts";
import { text } from "./wasm/generated/relaxed.ts";
import { inlined, type Kernels } from "./wasm/load.ts";

/**
 * Kernels with fused multiply-add: faster where the engine has relaxed SIMD, last bits may differ between machines.
 *
 * @example
 * ```ts
 * import { createRuntime } from "flashtile";
 * import { relaxed } from "flashtile/relaxed";
 * const rt = await createRuntime({ kernels: relaxed });
 * rt.close();
 * ```
 */
export const relaxed: Kernels = {
  ...inlined("relaxed", () => text),
  lacks: lacksRelaxed,
};
