/**
 * rotary: y_a = x_a·cos − x_b·sin, y_b = x_b·cos + x_a·sin for the pairs (a, b) = (d, d + dims/2), half-split, or
 * (2d, 2d+1), interleaved, d < dims/2; the other width − dims pass unchanged (Su et al. 2021, eq. 34). float64.
 * X[tokens, heads, width]; cos, sin [positions, dims/2]; positions[tokens] picks their rows.
 */
export function rotary(
  x: Float64Array,
  { cos, sin, positions, heads, width, dims = width, interleaved = false }: {
    cos: Float64Array;
    sin: Float64Array;
    positions: Int32Array;
    heads: number;
    width: number;
    dims?: number;
    interleaved?: boolean;
  },
): Float64Array {
  const y = x.slice();
  const half = dims / 2;
  for (let i = 0; i < positions.length; i++) {
    for (let h = 0; h < heads; h++) {
      const row = (i * heads + h) * width;
      for (let d = 0; d < half; d++) {
        const a = row + (interleaved ? 2 * d : d);
        const b = interleaved ? a + 1 : a + half;
        const c = cos[positions[i]! * half + d]!, s = sin[positions[i]! * half + d]!;
        y[a] = x[a]! * c - x[b]! * s;
        y[b] = x[b]! * c + x[a]! * s;
      }
    }
  }
  return y;
}
