import { text } from "./generated/deterministic.ts";
import { inlined, type Kernels } from "./load.ts";

/** Plain SIMD-128: the same bits on every engine, and what runs unless told otherwise. */
export const deterministic: Kernels = inlined("deterministic", () => text);
