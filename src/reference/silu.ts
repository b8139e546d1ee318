/** silu: y = g·σ(g)·u with σ(g) = 1/(1 + e^−g), the gate of SwiGLU (Shazeer 2020, eq. 6); add: y = a + b. float64. */
import { exp } from "./math.ts";

export function silu(g: Float64Array, u: Float64Array): Float64Array {
  return g.map((x, i) => {
    const e = exp(-Math.abs(x));
    return x * ((x < 0 ? e : 1) / (1 + e)) * u[i]!;
  });
}

export function add(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((x, i) => x + b[i]!);
}
