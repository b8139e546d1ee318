/**
 * Double-double pieces. A value hi + lo, |lo| ≤ ulp(hi), has about 107 bits; a function that results in one
 * leaves it in `pair`, so that nothing is allocated. JavaScript has no fused multiply-add, so products
 * are made exact by splitting the factors (Dekker 1971, Veltkamp; sums: Knuth, TAOCP 2, §4.2.2).
 */

/** [hi, lo] of what was computed last. */
export const pair = new Float64Array(2);

/** 2^27 + 1: x·SPLIT rounded leaves the upper 26 bits of x. */
const SPLIT = 134217729;

/** a + b − s for s = fl(a + b): exact, whichever of a and b is larger. 6 additions. */
export function sumTail(a: number, b: number, s: number): number {
  const bRounded = s - a;
  return (a - (s - bRounded)) + (b - bRounded);
}

/** a·b − p for p = fl(a·b): exact while |a|, |b| < 2^996 and |p| > 2^−968. 17 operations. */
export function productTail(a: number, b: number, p: number): number {
  const aHigh = upperHalf(a);
  const aLow = a - aHigh;
  const bHigh = upperHalf(b);
  const bLow = b - bHigh;
  return aLow * bLow - (((p - aHigh * bHigh) - aLow * bHigh) - aHigh * bLow);
}

/** The upper 26 bits of x. */
function upperHalf(x: number): number {
  const split = x * SPLIT;
  return split - (split - x);
}

/** Every power of two that a double can hold, 16 KiB: cheaper to read than to assemble from bits. */
const POWERS = powersOfTwo();

function powersOfTwo(): Float64Array {
  const powers = new Float64Array(2098);
  // Doubling is exact, for subnormals too.
  for (let i = 0, power = Number.MIN_VALUE; i < 2098; i++, power *= 2) powers[i] = power;
  return powers;
}

/** 2^e for −1074 ≤ e ≤ 1023. */
export function pow2(e: number): number {
  return POWERS[e + 1074]!;
}

const word = new DataView(new ArrayBuffer(8));

/** Sign, exponent and upper 20 mantissa bits of x, as an int32. */
export function highWord(x: number): number {
  word.setFloat64(0, x);
  return word.getInt32(0);
}

/**
 * (hi + lo)·2^e, rounded once, for 1/2 < hi < 4, |lo| < 2^−6 and −1100 < e < 1100: ±∞ above, and below 2^−1022 the
 * nearest multiple of 2^−1074, not the rounding of a rounding.
 */
export function scalePair(hi: number, lo: number, e: number): number {
  // Added to hi, 2^52 units of 2^(−1074−e) leave the bits down to where a subnormal result ends.
  const anchor = pow2(Math.max(-1022 - e, -1074));
  const kept = anchor + hi;
  const sum = hi + lo >= anchor ? hi + lo : (kept + ((hi - (kept - anchor)) + lo)) - anchor;
  // In halves, which are powers that a double can hold.
  return sum * pow2(e >> 1) * pow2(e - (e >> 1));
}
