/**
 * Smoothing: means are taken out before quantisation, so that the codes are spent on what differs.
 *
 *   K′ = K − k̄     k̄ = mean of all keys          q·k = q·k′ + q·k̄: one number more for a whole row of scores
 *   Q′ = Q − q̄     q̄ = mean of a block of Q      q·k′ = q′·k′ + q̄·k′: ΔS = q̄·K′ᵀ, a row for a whole block
 *   V′ = V − v̄     v̄ = mean of all values        Σ p v = Σ p v′ + v̄·Σ p
 *
 * SageAttention drops q·k̄, which softmax doesn't see, and adds it to lse alone. With a softcap or a sink it is seen;
 * so it stands in every score here, and lse comes out right by itself. Σ p is less than 1 where there is a sink, and
 * anything where there is dropout.
 *
 * Any constant would be exact. Means are sums in float64, stored as float32; differences are rounded to float32. A
 * column that holds 2^126 or more isn't smoothed: its differences might overflow.
 */

const { fround } = Math;

/** Takes the means [columns] of rows first ≤ row < last out of x and returns them, over what counts; 0 where nothing does. */
export function smoothRows(
  x: Float64Array,
  columns: number,
  first: number,
  last: number,
  counts: (row: number, column: number) => boolean,
): Float64Array {
  return Float64Array.from({ length: columns }, (_, d) => {
    let sum = 0, count = 0, amax = 0;
    for (let row = first; row < last; row++) {
      if (!counts(row, d)) continue;
      const value = x[row * columns + d];
      sum += value;
      count++;
      amax = Math.max(amax, Math.abs(value));
    }
    const mean = count === 0 || amax >= 2 ** 126 ? 0 : fround(sum / count);
    for (let row = first; row < last; row++) x[row * columns + d] = fround(x[row * columns + d] - mean);
    return mean;
  });
}
