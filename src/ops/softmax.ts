/**
 * softmax and log softmax along any axis, on the kernels: slices staged 256 KiB at a time, four of them interleaved.
 *
 * X [outer, count, inner], slices of `count` elements `inner` apart. 4 flops and an exponential an element, 8 bytes.
 */
import { finite, flag } from "../check.ts";
import { sizeOf, type Tensor, type View } from "../tensor.ts";
import type { Engine } from "../wasm/load.ts";
import { toFloat32 } from "./dense.ts";

/** Of which axis, and whether its logarithm. */
export interface SoftmaxOptions {
  /** Which axis sums to 1; negative ones count from the end. Default −1. */
  readonly axis?: number;
  /** The logarithm of the softmax. */
  readonly log?: boolean;
}

/** Floats staged at a time; a slice that is longer is staged whole. */
const STAGED = 2 ** 16;

/** @throws RangeError for float64 inputs, or an axis that isn't there. */
export function softmax(engine: Engine, x: View, options: SoftmaxOptions = {}): Tensor<Float32Array> {
  const { shape } = x;
  const axis = finite("axis", options.axis ?? -1);
  if (!Number.isInteger(axis) || axis < -shape.length || axis >= shape.length) {
    throw new RangeError(
      `axis: expected an integer from ${-shape.length} to ${shape.length - 1}, got ${axis}`,
    );
  }
  if (x.dtype === "float64") {
    throw new RangeError("float64 inputs: not available in the kernels; flashtile/onnx computes it");
  }
  const at = axis < 0 ? axis + shape.length : axis;
  const data = toFloat32(x);
  const mark = engine.arena.mark();
  try {
    slices(engine, data, shape[at], sizeOf(shape.slice(at + 1)), flag("log", options.log));
  } finally {
    engine.arena.release(mark);
  }
  return { data, shape: [...shape], dtype: "float32" };
}

/** In place: data [outer, count, inner]. */
function slices(
  { arena, kernels }: Engine,
  data: Float32Array,
  count: number,
  inner: number,
  log: boolean,
): void {
  if (data.length === 0) return;
  const total = data.length / count;
  const most = Math.max(1, Math.min(Math.ceil(total / 4), Math.floor(STAGED / (4 * count))));
  const at = arena.alloc(most * count * 16);
  for (let first = 0; first < total; first += 4 * most) {
    const some = Math.min(4 * most, total - first);
    const groups = Math.ceil(some / 4);
    const staged = arena.f32(at, groups * count * 4);
    /** Each slice: where it starts in the stage, where in the data. */
    const each = (f: (to: number, from: number) => void) => {
      for (let s = 0; s < some; s++) {
        const outer = Math.floor((first + s) / inner), column = (first + s) % inner;
        f((s >> 2) * count * 4 + (s & 3), outer * count * inner + column);
      }
    };
    each((to, from) => {
      for (let x = 0; x < count; x++) staged[to + 4 * x] = data[from + x * inner];
    });
    kernels.softmax_f32(at, groups, count, log ? 1 : 0);
    each((from, to) => {
      for (let x = 0; x < count; x++) data[to + x * inner] = staged[from + 4 * x];
    });
  }
}
