/**
 * Floats of 8 and 4 bits as numbers: sign, exponent, mantissa, gradual underflow.
 *
 *   E4M3   exponent bias 7    max 448     least 2^−9    no ∞, one NaN                      OCP FP8 ("e4m3fn")
 *   E5M2   exponent bias 15   max 57344   least 2^−16   ∞ and NaN like float16             OCP FP8
 *   E2M1   exponent bias 1    max 6       least ½       neither: 0 ½ 1 1½ 2 3 4 6          OCP MX, NVFP4
 *
 * Encoding rounds to nearest, ties to even, and saturates: ∞ and all that is beyond `max` becomes `max`; NaN becomes
 * the code with all bits but the sign set, which is NaN except in E2M1, where it is 6 (PTX's cvt.rn.satfinite).
 * |round(x) − x| ≤ max(2^−(mantissa bits + 1)·|x|, least/2) for |x| ≤ max. Float16 and bfloat16 are in dtype.ts.
 */

import { decodeFloat16, encodeFloat } from "./dtype.ts";

export interface MiniFloat {
  readonly mantissaBits: number;
  /** The largest finite number. */
  readonly max: number;
  /** The number of each code: numbers[1] is the least positive one. */
  readonly numbers: Float64Array;
  /** Number → code. */
  encode(x: number): number;
  /** The nearest number of the format: numbers[encode(x)], but NaN stays NaN. */
  round(x: number): number;
}

export const E4M3: MiniFloat = miniFloat(7, 3, 448);
export const E5M2: MiniFloat = miniFloat(15, 2, 57344);
export const E2M1: MiniFloat = miniFloat(1, 1, 6);

function miniFloat(bias: number, mantissaBits: number, max: number): MiniFloat {
  const sign = (2 * bias + 2) << mantissaBits;
  const numbers = Float64Array.from({ length: 2 * sign }, (_, code) => {
    // The same fields in a float16, whose exponent is biased by 15.
    const a = decodeFloat16((code % sign) << (10 - mantissaBits)) * (1 << (15 - bias));
    const value = a <= max || a === Infinity ? a : NaN;
    return code < sign ? value : -value;
  });
  const encode = (x: number): number => {
    const code = encodeFloat(Math.min(Math.abs(x), max), mantissaBits, bias, sign - 1);
    return x < 0 || Object.is(x, -0) ? code + sign : code;
  };
  return { mantissaBits, max, numbers, encode, round: (x) => x !== x ? x : numbers[encode(x)] };
}
