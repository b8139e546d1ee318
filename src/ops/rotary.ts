/**
 * rotary: the first `dims` of each head turned by the angles of its token's position (Su et al. 2021, eq. 34), pairs
 * (d, d + dims/2), half-split, or (2d, 2d+1), interleaved. Tables cos, sin [positions, dims/2] are inputs: scaling
 * schemes (linear, NTK, YaRN, Llama 3) are other tables.
 */
import type { Rotary } from "../rotary.ts";
import { elementReader, type Tensor, type View } from "../tensor.ts";
import type { Engine } from "../wasm/load.ts";
import { toFloat32 } from "./dense.ts";
import { expectCount, expectLength } from "./expect.ts";

/** Rows of tokens and heads at addresses, strides in elements. */
export interface RotaryPointers {
  x_p: number;
  /** Default x_p, with x's strides: in place. */
  out_p?: number;
  /** float32 [positions, dims/2] each. */
  cos_p: number;
  sin_p: number;
  /** int32 [tokens], each a row of the tables: not checked here. */
  positions_p: number;
  tokens: number;
  heads: number;
  width: number;
  /** How many of `width` turn, even; default all. */
  dims?: number;
  /** Distance of tokens and of heads; default heads·width and width, which is [tokens, heads, width]. */
  tokenStride?: number;
  headStride?: number;
  outTokenStride?: number;
  outHeadStride?: number;
  interleaved?: boolean;
}

export function rotary_p(engine: Engine, at: RotaryPointers): void {
  const { x_p, out_p = x_p, cos_p, sin_p, positions_p, tokens, heads, width, dims = width } = at;
  const { tokenStride = heads * width, headStride = width, interleaved = false } = at;
  const { outTokenStride = tokenStride, outHeadStride = headStride } = at;
  engine.kernels.rotary_f32(
    ...[x_p, out_p, cos_p, sin_p, positions_p, tokens, heads, width, dims] as const,
    ...[tokenStride, headStride, outTokenStride, outHeadStride, interleaved ? 1 : 0] as const,
  );
}

export interface RotaryOptions<A> {
  cos: A;
  sin: A;
  /** [tokens], each < cos.length / (dims/2). */
  positions: Int32Array;
  heads: number;
  width: number;
  dims?: number;
  interleaved?: boolean;
}

/**
 * X[tokens, heads, width] → the same shape, turned.
 *
 * @throws RangeError for a position outside the tables, odd dims, dims > width or lengths that do not fit.
 */
export function rotary(engine: Engine, x: Float32Array, options: RotaryOptions<Float32Array>): Float32Array {
  const { cos, sin, positions, heads, width, dims = width, interleaved = false } = options;
  const tokens = positions.length;
  expectCount("heads", heads);
  expectCount("width", width);
  expectLength("x", x, [tokens, heads, width]);
  if (dims % 2 || dims < 0 || dims > width) {
    throw new RangeError(`dims: expected an even number ≤ width ${width}, got ${dims}`);
  }
  const half = dims / 2, rows = half ? Math.floor(cos.length / half) : Infinity;
  expectLength("sin", sin, [cos.length]);
  for (const p of positions) {
    if (p < 0 || p >= rows) throw new RangeError(`positions: expected 0 ≤ p < ${rows}, got ${p}`);
  }
  const { arena } = engine;
  const mark = arena.mark();
  try {
    const x_p = arena.alloc(x.byteLength), positions_p = arena.alloc(positions.byteLength);
    const cos_p = arena.alloc(cos.byteLength), sin_p = arena.alloc(sin.byteLength);
    arena.f32(x_p, x.length).set(x);
    arena.f32(cos_p, cos.length).set(cos);
    arena.f32(sin_p, sin.length).set(sin);
    arena.i32(positions_p, tokens).set(positions);
    rotary_p(engine, { x_p, cos_p, sin_p, positions_p, tokens, heads, width, dims, interleaved });
    return arena.f32(x_p, x.length).slice();
  } finally {
    arena.release(mark);
  }
}

/** Floats of x that are in linear memory at a time. */
const STAGED = 2 ** 16;

/**
 * Rotary embedding of a whole tensor, in its layout, a few hundred KiB of linear memory at a time.
 *
 * @throws RangeError for float64 inputs.
 */
export function applyRotary(engine: Engine, turn: Rotary): Tensor<Float32Array> {
  const { x, B, H, N, D, layout, cos, sin, half, positions, interleaved } = turn;
  for (const source of [x, cos, sin]) {
    if (source.dtype === "float64") {
      throw new RangeError("float64 inputs: not available in the kernels; flashtile/reference computes it");
    }
  }
  const data = toFloat32(x);
  // [tokens, heads, D]: with "bhnd" each head is such a tensor of its own.
  const slabs = layout === "bhnd" ? H : 1, heads = H / slabs;
  const most = Math.max(1, Math.min(N, Math.floor(STAGED / Math.max(1, heads * D))));
  const { arena } = engine;
  const mark = arena.mark();
  try {
    const x_p = arena.alloc(most * heads * D * 4), positions_p = arena.alloc(most * 4);
    const cos_p = arena.alloc(most * half * 4), sin_p = arena.alloc(most * half * 4);
    // Each token has a row of its own here.
    arena.i32(positions_p, most).forEach((_, n, all) => all[n] = n);
    const at = { x_p, cos_p, sin_p, positions_p, heads, width: D, dims: 2 * half, interleaved };
    for (let slab = 0; slab < B * slabs; slab++) {
      const b = Math.floor(slab / slabs);
      for (let i = 0; i < N; i += most) {
        const tokens = Math.min(most, N - i);
        const first = (slab * N + i) * heads * D, size = tokens * heads * D;
        const rows = positions.subarray(b * N + i, b * N + i + tokens);
        copyRows(arena.f32(cos_p, tokens * half), cos, rows);
        copyRows(arena.f32(sin_p, tokens * half), sin, rows);
        arena.f32(x_p, size).set(data.subarray(first, first + size));
        rotary_p(engine, { ...at, tokens });
        data.set(arena.f32(x_p, size), first);
      }
    }
  } finally {
    arena.release(mark);
  }
  return { data, shape: [...x.shape], dtype: "float32" };
}

/** Rows of a table [·, half], one after the other. */
function copyRows(out: Float32Array, table: View, rows: Int32Array): void {
  const { offset, strides: [row, column], shape: [, half] } = table;
  const read = elementReader(table);
  let at = 0;
  for (const r of rows) for (let d = 0; d < half; d++) out[at++] = read(offset + r * row + d * column);
}
