/** rmsnorm: y = x / √(mean(x²) + eps) · w for each row (Zhang and Sennrich 2019); within 0.51 ulp. */
import type { Engine } from "../wasm/load.ts";
import { expectCount, expectLength } from "./expect.ts";

export interface RmsNormDims {
  rows: number;
  dim: number;
  eps: number;
}

/** X[rows,dim], w[dim] → out[rows,dim], float32 at addresses; out_p may be x_p. */
export function rmsnorm_p(
  engine: Engine,
  x_p: number,
  w_p: number,
  out_p: number,
  rows: number,
  dim: number,
  eps: number,
): void {
  engine.kernels.rmsnorm_f32(x_p, w_p, out_p, rows, dim, eps);
}

/** The same on arrays. @throws RangeError if an array's length does not follow from the dims. */
export function rmsnorm(engine: Engine, x: Float32Array, w: Float32Array, dims: RmsNormDims): Float32Array {
  const { rows, dim, eps } = dims;
  expectCount("rows", rows);
  expectCount("dim", dim);
  expectLength("x", x, [rows, dim]);
  expectLength("w", w, [dim]);
  const { arena } = engine;
  const mark = arena.mark();
  try {
    const x_p = arena.alloc(x.byteLength), w_p = arena.alloc(w.byteLength);
    arena.f32(x_p, x.length).set(x);
    arena.f32(w_p, w.length).set(w);
    rmsnorm_p(engine, x_p, w_p, x_p, rows, dim, eps);
    return arena.f32(x_p, x.length).slice();
  } finally {
    arena.release(mark);
  }
}
