/** Heads, halves and caches of the tensors that ONNX nodes take: views where that is enough, copies where it isn't. */
import type { DType } from "../dtype.ts";
import { fromFloat64, toFloat64, type View, view } from "../tensor.ts";

/** [B,N,H·D] → axes [b, h, i, d], nothing copied. */
export function splitHeads(name: string, source: View, heads: number): View {
  const [B, N, width] = source.shape;
  const [batch, row, column] = source.strides;
  if (width % heads !== 0) {
    throw new RangeError(`${name}: expected a width that ${heads} heads divide, got [${source.shape}]`);
  }
  const D = width / heads;
  return { ...source, shape: [B, heads, N, D], strides: [batch, D * column, row, column] };
}

/** Indices start … start + length of one axis. */
export function slice(source: View, axis: number, start: number, length: number): View {
  return {
    ...source,
    shape: source.shape.map((n, a) => a === axis ? length : n),
    offset: source.offset + start * source.strides[axis],
  };
}

/** One index of an axis, which goes. */
export function at(source: View, axis: number, index: number): View {
  const { shape, strides, offset } = slice(source, axis, index, 1);
  const rest = (list: readonly number[]) => list.filter((_, a) => a !== axis);
  return { ...source, shape: rest(shape), strides: rest(strides), offset };
}

/** Numbers as a dense view of a dtype, rounded to it. */
export function dense(values: Float64Array, shape: readonly number[], dtype: DType): View {
  return view("tensor", { data: fromFloat64(values, dtype), shape: [...shape], dtype });
}

/** Along the keys of [B,G,M,D]: the same dtype, dense. */
export function concatenate(first: View, second: View): View {
  const P = first.shape[2];
  return cache(first, second, P + second.shape[2], new Array<number>(first.shape[0]).fill(P));
}

/**
 * A cache [B,G,length,D]: the first kept[b] rows of `past`, then `added`, then zeros.
 *
 * @param past Null for an empty cache.
 */
export function cache(past: View | null, added: View, length: number, kept: ArrayLike<number>): View {
  const [B, G, S, D] = added.shape;
  const old = past ? toFloat64(past) : new Float64Array(0);
  const P = past ? past.shape[2] : 0;
  const fresh = toFloat64(added);
  const out = new Float64Array(B * G * length * D);
  for (let row = 0; row < B * G; row++) {
    const rows = kept[Math.floor(row / G)];
    out.set(old.subarray(row * P * D, (row * P + rows) * D), row * length * D);
    out.set(fresh.subarray(row * S * D, (row + 1) * S * D), (row * length + rows) * D);
  }
  return dense(out, [B, G, length, D], added.dtype);
}

/** [B,H,S,D] → [B,S,H·D]. */
export function rowsFirst(x: Float64Array, [B, H, S, D]: readonly number[]): Float64Array {
  const y = new Float64Array(x.length);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < S; i++) {
        const from = ((b * H + h) * S + i) * D;
        y.set(x.subarray(from, from + D), ((b * S + i) * H + h) * D);
      }
    }
  }
  return y;
}
