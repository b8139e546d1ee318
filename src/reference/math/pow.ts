/**
 * base^x = e^(x·ln base), the logarithm as a pair with 66 good bits: x·ln base below 746 then keeps 56 bits after
 * the point.
 */

import { expPair } from "./exp.ts";
import { logPair } from "./log.ts";
import { pair, productTail, scalePair } from "./pair.ts";

/** 2^64. */
const TWO_64 = 0x1_0000_0000_0000_0000;

/**
 * base^x for base ≥ 0; a negative base only with an integer x. Max error 0.57 ulp measured, for a base within 1 % of
 * 1 and a result near the ends of the range; elsewhere, subnormal results and the theta^(−2i/d) of rotary embeddings
 * included, 0.5001. Special points are those of ECMAScript's **: x = ±0 gives 1 whatever the base, else NaN in either
 * gives NaN; |base| = 1 with x = ±∞ gives NaN; zeros and infinities keep the sign of an odd power.
 */
export function pow(base: number, x: number): number {
  if (x === 0) return 1;
  if (x !== x || base !== base) return NaN;
  const a = Math.abs(base);
  const odd = isOdd(x);
  const sign = (base < 0 || Object.is(base, -0)) && odd ? -1 : 1;
  if (a === 0 || a === Infinity) return sign * ((a === 0) === (x < 0) ? Infinity : 0);
  if (Math.abs(x) === Infinity) return a === 1 ? NaN : (a > 1) === (x > 0) ? Infinity : 0;
  if (base < 0 && Math.floor(x) !== x) return NaN;
  if (a === 1) return sign;
  // |ln a| is 2^−53 to 745: x beyond these bounds over- or underflows, or leaves 1.
  if (Math.abs(x) > TWO_64) return sign * ((a > 1) === (x > 0) ? Infinity : 0);
  if (Math.abs(x) < 0.5 / TWO_64) return 1;
  logPair(a, 0);
  const ln = pair[0]!;
  const y = x * ln;
  if (y > 710) return sign * Infinity;
  if (y < -746) return sign * 0;
  const e = expPair(y, productTail(x, ln, y) + x * pair[1]!);
  return sign * scalePair(pair[0]!, pair[1]!, e);
}

/** Every double from 2^53 on is even. */
function isOdd(x: number): boolean {
  const half = Math.abs(x) * 0.5;
  return Math.abs(x) < 0x20_0000_0000_0000 && Math.floor(x) === x && half !== Math.floor(half);
}
