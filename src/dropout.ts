/**
 * The dropout mask: whether entry (b, h, i, j) of P is kept is a pure function of the seed and its coordinates, so
 * it is the same for every tiling, thread count, split of the keys and back end, and backward computes it again.
 *
 *   mix(x, k):  x ^= x >>> 16;  x *= 0x21f0aaad;  x ^= x >>> 15;  x ^= k;  x *= 0x735a2d97;  x ^= x >>> 15
 *   absorb:  key = mix((key ^ word) + 0x9e3779b9, 0)  over the words  seed mod 2^32, ⌊seed/2^32⌋, b, h, i
 *            once from 0x243f6a88 and once from 0x85a308d3 (the first digits of π): k0 and k1 of the row
 *   draw:    u = mix(j·0x9e3779b9 + k0, k1)
 *   keep     iff u ≥ ⌊p·2^32⌋, unsigned
 *
 * All arithmetic is on 32-bit words and wraps: a multiply, shift, xor and add per step, which is what i32x4 has. p
 * counts in steps of 2^−32, so the true rate is within 2^−32 of p. The mixer is the best of its kind in C. Wellons'
 * hash-prospector (16 21f0aaad 15 735a2d97 15). Two keys, because with one the rows would be shifts of one sequence.
 */

const GOLDEN = 0x9e3779b9;
const FIRST = 0x21f0aaad;
const SECOND = 0x735a2d97;

/** The two words a row of P draws from. */
export interface DropoutRow {
  readonly k0: number;
  readonly k1: number;
}

function mix(x: number, k: number): number {
  x = Math.imul(x ^ (x >>> 16), FIRST);
  x = Math.imul(x ^ (x >>> 15) ^ k, SECOND);
  return x ^ (x >>> 15);
}

/** Keys of row i of query head h of batch b; the seed is an integer, |seed| < 2^53. */
export function dropoutRow(seed: number, b: number, h: number, i: number): DropoutRow {
  const words = [seed | 0, Math.floor(seed / 2 ** 32) | 0, b, h, i];
  const absorb = (key: number, word: number) => mix((key ^ word) + GOLDEN, 0);
  return { k0: words.reduce(absorb, 0x243f6a88), k1: words.reduce(absorb, 0x85a308d3) };
}

/** The 32-bit draw of column j, unsigned. */
export function dropoutDraw({ k0, k1 }: DropoutRow, j: number): number {
  return mix(Math.imul(j, GOLDEN) + k0, k1) >>> 0;
}

/** An entry is kept iff its draw is at least this. */
export function dropoutThreshold(p: number): number {
  return Math.floor(p * 2 ** 32);
}
