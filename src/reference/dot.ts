/**
 * Sums of products in float64, in an order that is part of the definition: the same bits everywhere.
 *
 * Four running sums, then their sum: rounding grows with D/4 instead of D (error ≤ (D/4 + 3)·ε·Σ|a||b|), and the
 * products of float32 inputs are exact in float64, 24 + 24 ≤ 53 bits.
 */

/** Σ a[a0 + d]·b[b0 + d] over 0 ≤ d < length. */
export function dot(a: Float64Array, a0: number, b: Float64Array, b0: number, length: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let d = 0;
  for (; d + 3 < length; d += 4) {
    s0 += a[a0 + d] * b[b0 + d];
    s1 += a[a0 + d + 1] * b[b0 + d + 1];
    s2 += a[a0 + d + 2] * b[b0 + d + 2];
    s3 += a[a0 + d + 3] * b[b0 + d + 3];
  }
  for (; d < length; d++) s0 += a[a0 + d] * b[b0 + d];
  return (s0 + s1) + (s2 + s3);
}

/** y[y0 + d] += w·x[x0 + d] over 0 ≤ d < length. */
export function addScaled(
  y: Float64Array,
  y0: number,
  w: number,
  x: Float64Array,
  x0: number,
  length: number,
): void {
  for (let d = 0; d < length; d++) y[y0 + d] += w * x[x0 + d];
}
