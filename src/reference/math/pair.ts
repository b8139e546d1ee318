/**
 * Double-double pieces. A value hi + lo, |lo| ≤ ulp(hi), has about 107 bits; a function that returns one writes it
 * to its `out` argument, [hi, lo], so that nothing is allocated. JavaScript has no fused multiply-add, so products
 * are made exact by splitting the factors (Dekker 1971, Veltkamp; sums: Knuth, TAOCP 2, §4.2.2).
 */

/** 2^27 + 1: x·SPLIT rounded leaves the upper 26 bits of x. */
const SPLIT = 134217729;

/** a + b − s for s = fl(a + b): exact, whichever of a and b is larger. 6 additions. */
export function sumTail(a: number, b: number, s: number): number {
  const bRounded = s - a;
  return (a - (s - bRounded)) + (b - bRounded);
}

/** a·b − p for p = fl(a·b): exact while |a|, |b| < 2^996 and |p| > 2^−968. 17 operations. */
export function productTail(a: number, b: number, p: number): number {
  const aSplit = a * SPLIT;
  const aHigh = aSplit - (aSplit - a);
  const aLow = a - aHigh;
  const bSplit = b * SPLIT;
  const bHigh = bSplit - (bSplit - b);
  const bLow = b - bHigh;
  return aLow * bLow - (((p - aHigh * bHigh) - aLow * bHigh) - aHigh * bLow);
}

/** POW2[e + BIAS] is 2^e for −1074 ≤ e ≤ 1023. */
export const BIAS = 1074;

/** Every power of two that a double can hold, 16 KiB: cheaper to read than to assemble from bits. */
export const POW2: Float64Array = powersOfTwo();

function powersOfTwo(): Float64Array {
  const powers = new Float64Array(2098);
  powers[0] = Number.MIN_VALUE;
  // Doubling is exact, for subnormals too.
  for (let i = 1; i < powers.length; i++) powers[i] = 2 * powers[i - 1]!;
  return powers;
}

const word = new DataView(new ArrayBuffer(8));

/** Sign, exponent and upper 20 mantissa bits of x, as an int32. */
export function highWord(x: number): number {
  word.setFloat64(0, x, true);
  return word.getInt32(4, true);
}

/**
 * (hi + lo)·2^e, rounded once, for 1/2 < hi < 4, |lo| < 2^−6 and any integer e: ±∞ above, and below 2^−1022 the
 * nearest multiple of 2^−1074, not the rounding of a rounding.
 */
export function scalePair(hi: number, lo: number, e: number): number {
  if (e > 1022) return e > 1030 ? Infinity : (hi + lo) * POW2[e - 8 + BIAS]! * 256;
  if (e < -1080) return 0;
  // Added to hi, 2^52 units of 2^(−1074−e) leave the bits down to where the result ends.
  const anchor = POW2[Math.max(52 - e, 0)]!;
  if (hi + lo >= anchor) return (hi + lo) * POW2[e + BIAS]!;
  const kept = anchor + hi;
  const units = (kept + ((hi - (kept - anchor)) + lo)) - anchor;
  return units * POW2[e + 60 + BIAS]! * POW2[-60 + BIAS]!;
}
