/**
 * The largest integer codes with which no 32-bit sum of products can overflow, whatever the data; products of two
 * lanes, as i32x4.dot_i16x8_s adds them, are part of the sum. The oracle and the kernels both take them from here.
 */

const LIMITS = { int4: 7, int7: 63, int8: 127, int12: 2047, int16: 32767 } as const;

/**
 * Of Q and K: `terms` products of two codes are at most terms·L² ≤ 2³¹ − 1. 12 bits fit up to D = 512: 512·2047² =
 * 2 145 387 008. Beyond that L shrinks with 1/√D: 1930 at D = 576. "int16" takes all there is: 5792 at D = 64, 4095
 * at 128.
 */
export function integerLimit(type: keyof typeof LIMITS, terms: number): number {
  return Math.min(LIMITS[type], Math.floor(Math.sqrt(0x7fffffff / Math.max(terms, 1))));
}

/**
 * Of P (≥ 0) and V: a tile's 64 products stay below 2³¹: 64·4096·2047 = 536 608 768, and with all the bits that are
 * left 64·8192·4095 = 2 146 959 360. A power of two for P costs nothing to multiply by.
 */
export const valueLimits = {
  int7: { p: 127, v: 63 },
  int8: { p: 127, v: 127 },
  int12: { p: 4096, v: 2047 },
  int16: { p: 8192, v: 4095 },
} as const;
