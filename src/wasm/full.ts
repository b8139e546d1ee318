/**
 * The full builds (assembly/full.ts): the same attention kernels, decoding over a cache, the layers round attention, and
 * a scalar twin of each. Twice the size of what attention alone needs, so they are no part of its import.
 */
import { lacksRelaxed } from "./detect.ts";
import { text as deterministicText } from "./generated/deterministic.full.ts";
import { text as relaxedText } from "./generated/relaxed.full.ts";
import { inlined, type Kernels } from "./load.ts";

export const deterministicFull: Kernels = inlined("deterministic", () => deterministicText);
export const relaxedFull: Kernels = {
  ...inlined("relaxed", () => relaxedText),
  lacks: lacksRelaxed,
};
