/**
 * The model builds: the same attention kernels, and with them decoding over a cache and the layers round attention
 * (assembly/model.ts). Twice the size of what attention alone needs, so they are no part of its import.
 */
import { text as deterministicText } from "./generated/deterministic.model.ts";
import { text as relaxedText } from "./generated/relaxed.model.ts";
import { inlined, type Kernels } from "./load.ts";

export const deterministicModel: Kernels = inlined("deterministic", () => deterministicText);
export const relaxedModel: Kernels = inlined("relaxed", () => relaxedText);
