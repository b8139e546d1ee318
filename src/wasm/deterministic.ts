/** The build whose bits are the same on every engine: plain SIMD-128. */
import { text } from "./generated/deterministic.ts";
import { inlined, type Kernels } from "./load.ts";

export const deterministic: Kernels = inlined("deterministic", () => text);
