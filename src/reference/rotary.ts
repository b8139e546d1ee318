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
      turn(y, (i * heads + h) * width, cos, sin, positions[i]!, half, interleaved);
    }
  }
  return y;
}

/** Turns the row of y that starts at `row` by the angles of a position, in place. */
export function turn(
  y: Float64Array,
  row: number,
  cos: Float64Array,
  sin: Float64Array,
  position: number,
  half: number,
  interleaved: boolean,
): void {
  for (let d = 0; d < half; d++) {
    const a = row + (interleaved ? 2 * d : d);
    const b = interleaved ? a + 1 : a + half;
    const c = cos[position * half + d]!, s = sin[position * half + d]!;
    const [y_a, y_b] = [y[a]!, y[b]!];
    y[a] = y_a * c - y_b * s;
    y[b] = y_b * c + y_a * s;
  }
}
