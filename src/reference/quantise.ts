/**
 * Symmetric quantisation: a group of elements shares a scale, an element becomes a code, x ≈ code·scale.
 *
 *   integers   scale = amax/L       code = round(x/scale), |code| ≤ L     L = 7, 127, 2047, … (`integerLimit`)
 *   floats     scale = amax/R       code = E4M3 or E5M2 of x/scale        R ≤ 448 or 57344
 *   NVFP4      scale = E4M3(amax/6) code = E2M1 of x/scale                groups of 16
 *
 * Everything is done in float32 as the kernels do it, each operation rounded, so that codes and scales are bit for
 * bit what a kernel computes from the same x. No group divides by zero: amax counts as at least L·2^−126, so that
 * the smallest scale is the smallest normal float32 and the codes of a zero group are 0 (SageAttention's Triton kernel has
 * 0/0 = NaN there; its CUDA kernel raises amax to 1e−7 and loses small tensors).
 */
import { E2M1, E4M3, type MiniFloat } from "../codecs.ts";
import { roundEven } from "../dtype.ts";
import type { Rounding } from "../precision.ts";
import type { Groups } from "./groups.ts";

/** The numbers that codes can be, and how x becomes one. */
export interface Grid {
  /** The scale is amax/top, or near. */
  readonly top: number;
  /** Scale of a group with this largest |x|, a float32. */
  scale(amax: number): number;
  /** Code of x. */
  code(x: number, scale: number, amax: number): number;
}

export interface Quantised {
  /** As x; 0 where an element doesn't count. */
  readonly codes: Float64Array;
  /** One a group, in float32. */
  readonly scales: Float64Array;
  /** Scale of an element. */
  scaleAt(row: number, column: number): number;
}

const { fround } = Math;
const SMALLEST = 2 ** -126;

/** Integers from −limit to limit. */
export function integers(limit: number, rounding: Rounding): Grid {
  return {
    top: limit,
    scale: (amax) => fround(amax / limit),
    code: rounding === "half-even"
      // csrc/fused/fused.cu: x·(127/amax), to nearest even.
      ? (x, _, amax) => roundEven(fround(x * fround(limit / amax)))
      // triton/quant_per_block.py: x/scale ± 0.5, cut off.
      : (x, s) => Math.trunc(fround(fround(x / s) + (x >= 0 ? 0.5 : -0.5))),
  };
}

/** A float format whose codes reach up to `top`. */
export function floats(format: MiniFloat, top: number = format.max): Grid {
  return { top, scale: (amax) => fround(amax / top), code: (x, s) => format.round(fround(x / s)) };
}

/** NVFP4: the inverse of the rounded scale is what x is multiplied by (fp4_quantization_4d.cu). */
export const nvfp4: Grid = {
  top: E2M1.max,
  scale: (amax) => E4M3.round(fround(amax / E2M1.max)),
  code: (x, s) => s === 0 ? 0 : E2M1.round(fround(x * fround(1 / s))),
};

/**
 * Quantises x [rows,columns]; elements that don't count are in no maximum.
 *
 * @param counts Must be false for NaN and ∞.
 */
export function quantise(
  x: Float64Array,
  columns: number,
  grid: Grid,
  groups: Groups,
  counts: (row: number, column: number) => boolean,
): Quantised {
  const amax = new Float64Array(groups.count).fill(grid.top * SMALLEST);
  const codes = new Float64Array(x.length);
  const each = (visit: (at: number, value: number, group: number) => void) =>
    x.forEach((value, at) => {
      const row = Math.floor(at / columns);
      if (counts(row, at % columns)) visit(at, fround(value), groups.of(row, at % columns));
    });
  each((_, value, group) => amax[group] = Math.max(amax[group], Math.abs(value)));
  const scales = amax.map(grid.scale);
  each((at, value, group) => codes[at] = grid.code(value, scales[group], amax[group]));
  return { codes, scales, scaleAt: (row, column) => scales[groups.of(row, column)] };
}
