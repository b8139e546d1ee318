/**
 * linear: Y[rows,outDim] = X[rows,inDim]·Wᵀ with W[outDim,inDim] as checkpoints store it. 2·rows·inDim·outDim flop.
 *
 * W is packed once into strips of 8 rows (assembly/ops/linear.ts) and streamed once per call for one row, once per 64
 * rows else. A row's bits depend on that row and W only, not on how many rows a call has.
 */
import type { Engine } from "../wasm/load.ts";
import { expectCount, expectLength } from "./expect.ts";

export interface LinearDims {
  rows: number;
  inDim: number;
  outDim: number;
}

/** Element types of weights; the 16-bit ones travel as words and are decoded exactly while packing. */
export type WeightType = "float32" | "float16" | "bfloat16";

const CODES: Readonly<Record<WeightType, number>> = { float32: 0, float16: 1, bfloat16: 2 };
const STRIP = 8;

/** Bytes that W[outDim,inDim] takes when packed: float32, rows rounded up to a strip. */
export function packedBytes(outDim: number, inDim: number): number {
  return Math.ceil(outDim / STRIP) * STRIP * inDim * 4;
}

/** W at w_p, row-major in `dtype`, → packed float32 at packed_p. */
export function packWeights_p(
  engine: Engine,
  w_p: number,
  packed_p: number,
  outDim: number,
  inDim: number,
  dtype: WeightType = "float32",
): void {
  engine.kernels.pack_weights(w_p, packed_p, outDim, inDim, CODES[dtype]);
}

/**
 * Packs weights into a new block of the engine's arena and returns its address; it lives until the caller releases
 * the arena to an earlier mark.
 *
 * @throws RangeError if w has not outDim·inDim elements.
 */
export function packWeights(
  engine: Engine,
  w: Float32Array | Uint16Array,
  outDim: number,
  inDim: number,
  dtype: WeightType = "float32",
): number {
  expectCount("outDim", outDim);
  expectCount("inDim", inDim);
  expectLength("w", w, [outDim, inDim]);
  if ((dtype === "float32") !== (w instanceof Float32Array)) {
    throw new TypeError(`w: expected ${dtype === "float32" ? "Float32Array" : "Uint16Array"} for ${dtype}`);
  }
  const { arena } = engine;
  const packed_p = arena.alloc(packedBytes(outDim, inDim));
  const mark = arena.mark();
  try {
    const w_p = arena.alloc(w.byteLength);
    if (w instanceof Float32Array) arena.f32(w_p, w.length).set(w);
    else arena.u16(w_p, w.length).set(w);
    packWeights_p(engine, w_p, packed_p, outDim, inDim, dtype);
  } finally {
    arena.release(mark);
  }
  return packed_p;
}

/**
 * Y = X·Wᵀ on addresses: X[rows,inDim] and Y[rows,outDim] float32 with row strides in elements, W packed. Y must not
 * overlap X. May grow the arena by 512 KiB of scratch, which ends
 * every view.
 */
export function linear_p(
  engine: Engine,
  x_p: number,
  packed_p: number,
  out_p: number,
  rows: number,
  inDim: number,
  outDim: number,
  xStride: number = inDim,
  outStride: number = outDim,
): void {
  const { arena, kernels } = engine;
  const mark = arena.mark();
  const scratch_p = arena.alloc(kernels.linear_scratch(rows, inDim));
  kernels.linear_f32(x_p, packed_p, out_p, rows, inDim, outDim, xStride, outStride, scratch_p);
  arena.release(mark);
}

/**
 * Y = X·Wᵀ on arrays, W packed on the fly.
 *
 * @throws RangeError if an array's length does not follow from the dims.
 */
export function linear(engine: Engine, x: Float32Array, w: Float32Array, dims: LinearDims): Float32Array {
  const { rows, inDim, outDim } = dims;
  expectCount("rows", rows);
  expectLength("x", x, [rows, inDim]);
  const { arena } = engine;
  const mark = arena.mark();
  try {
    const w_p = packWeights(engine, w, outDim, inDim);
    const x_p = arena.alloc(x.byteLength), out_p = arena.alloc(rows * outDim * 4);
    arena.f32(x_p, x.length).set(x);
    linear_p(engine, x_p, w_p, out_p, rows, inDim, outDim);
    return arena.f32(out_p, rows * outDim).slice();
  } finally {
    arena.release(mark);
  }
}
