/** silu: y = g·σ(g)·u, the gate of SwiGLU (Shazeer 2020), with the kernels' own exp2; add: y = a + b, the residual. */
import type { Engine } from "../wasm/load.ts";
import { expectLength } from "./expect.ts";

/** `count` float32 at addresses; out_p may be g_p or u_p. */
export function silu_p(engine: Engine, g_p: number, u_p: number, out_p: number, count: number): void {
  engine.kernels.silu_f32(g_p, u_p, out_p, count);
}

/** `count` float32 at addresses; out_p may be a_p or b_p. */
export function add_p(engine: Engine, a_p: number, b_p: number, out_p: number, count: number): void {
  engine.kernels.add_f32(a_p, b_p, out_p, count);
}

/** @throws RangeError if g and u differ in length. */
export function silu(engine: Engine, g: Float32Array, u: Float32Array): Float32Array {
  expectLength("u", u, [g.length]);
  return onArrays(engine, silu_p, g, u);
}

/** @throws RangeError if a and b differ in length. */
export function add(engine: Engine, a: Float32Array, b: Float32Array): Float32Array {
  expectLength("b", b, [a.length]);
  return onArrays(engine, add_p, a, b);
}

function onArrays(engine: Engine, op: typeof add_p, a: Float32Array, b: Float32Array): Float32Array {
  const { arena } = engine;
  const mark = arena.mark();
  try {
    const a_p = arena.alloc(a.byteLength), b_p = arena.alloc(b.byteLength);
    arena.f32(a_p, a.length).set(a);
    arena.f32(b_p, b.length).set(b);
    op(engine, a_p, b_p, a_p, a.length);
    return arena.f32(a_p, a.length).slice();
  } finally {
    arena.release(mark);
  }
}
