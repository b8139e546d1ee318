/**
 * P of a tile as codes, and the sums that its products with V go through.
 *
 *   p = exp(x − m) ≤ 1, m the maximum of the row so far, or of its tile      code = round(p·top): a static scale
 *
 *   fp8      top = 2^8.807 ≈ 448 of E4M3 (attn_utils.cuh, S_FP8_OFFSET); 2^15.807 ≈ 57344 of E5M2
 *   ints     top as in `valueLimits`, ties to even
 *   fp16     top = 1
 *   fp4      top = 448·6; each 16 keys have a scale E4M3(max/6), and the code is E2M1(p·top/scale)·scale
 *
 * l is summed from p as it was before (accumulate_d of the CUDA kernels), so lse knows nothing of this rounding.
 */
import { E2M1, E4M3, E5M2 } from "../codecs.ts";
import { roundEven, roundFloat16 } from "../dtype.ts";
import { valueLimits } from "../limits.ts";
import { type Accumulator, type Recipe, TILE } from "../precision.ts";
import { exp2 } from "./math.ts";
import { rowMax } from "./row.ts";

export interface WeightCodes {
  /** What p = 1 becomes. */
  readonly top: number;
  /** p of a tile, from a key that is a multiple of 16 on → codes. */
  encode(P: Float64Array): Float64Array;
}

export function weightCodes({ pv }: Recipe): WeightCodes {
  if (pv === "fp4") return { top: E4M3.max * E2M1.max, encode: encodeFp4 };
  const [top, round] = {
    float32: [1, same] as const,
    "float32/fp8": [1, same] as const,
    fp16: [1, roundFloat16] as const,
    fp8: [exp2(8.807), E4M3.round] as const,
    fp8e5m2: [exp2(15.807), E5M2.round] as const,
  }[pv as string] ?? [valueLimits[pv as keyof typeof valueLimits].p, roundEven];
  return { top, encode: (P) => P.map((p) => round(p * top)) };
}

function encodeFp4(P: Float64Array): Float64Array {
  const codes = P.slice();
  const top = E4M3.max * E2M1.max;
  for (let first = 0; first < P.length; first += 16) {
    const group = codes.subarray(first, first + 16);
    const scale = E4M3.round(rowMax(group, 0) * top / E2M1.max);
    group.forEach((p, n) => group[n] = scale === 0 ? 0 * p : E2M1.round(p * top / scale) * scale);
  }
  return codes;
}

/** How P·V is summed; `step` products are added exactly before each rounding, as one instruction does. */
export interface Summation {
  /** Whether the sum of a tile starts at 0 and is then added to O; otherwise O itself is what is rounded. */
  readonly twoLevels: boolean;
  readonly step: number;
  round(sum: number): number;
  /** Rounding of O where it is rescaled, and where a tile joins it. */
  join(sum: number): number;
}

const same = (x: number) => x;

/**
 * m16n8k32 takes 32 keys of fp8, m16n8k16 16 of fp16. That sums are cut off at 13 mantissa bits is what
 * SageAttention2 found by experiment (§3.4); that they are cut off and not rounded is how tensor cores behave.
 */
export function summation({ accumulator, pv }: Recipe): Summation {
  const [twoLevels, round, join] = ({
    float32: [true, same, same],
    fp22: [false, truncate22, same],
    fp16: [false, roundFloat16, roundFloat16],
    "fp32+fp32": [true, truncate22, Math.fround],
    "fp32+fp16": [true, roundFloat16, Math.fround],
  } as const)[accumulator];
  return { twoLevels, step: accumulator === "float32" ? TILE : pv === "fp16" ? 16 : 32, round, join };
}

/** Largest relative error of a rounding of `summation`, and the absolute one below its smallest normal number. */
export function summationError(accumulator: Accumulator): { relative: number; absolute: number } {
  if (accumulator === "float32") return { relative: 0, absolute: 0 };
  return accumulator === "fp22" || accumulator === "fp32+fp32"
    ? { relative: 2 ** -13, absolute: 0 }
    : { relative: 2 ** -11, absolute: 2 ** -25 };
}

const word = new DataView(new ArrayBuffer(8));

/** The first 13 bits of the mantissa; the rest of the double's 52 are cut off. */
export function truncate22(x: number): number {
  word.setFloat64(0, x);
  word.setInt32(0, word.getInt32(0) & ~0x7f);
  word.setInt32(4, 0);
  return word.getFloat64(0);
}
