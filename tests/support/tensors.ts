/** Tensors of seeded numbers, and ways to spell the same numbers otherwise. */
import type { TensorInput } from "../../src/reference/index.ts";
import { Random } from "./random.ts";

/** What the tests here make: contiguous, its data numbers. */
export interface Made extends TensorInput {
  readonly data: Float32Array | Float64Array | Uint8Array;
  readonly shape: number[];
}

/** Normal deviates (sum of 12 uniforms, less 6) times `scale`, exact in float32. */
export function normal(seed: number, shape: readonly number[], scale = 1): Made {
  const random = new Random(seed);
  const data = Float32Array.from({ length: size(shape) }, () => {
    let sum = -6;
    for (let n = 0; n < 12; n++) sum += random.next() / 2 ** 32;
    return sum * scale;
  });
  return { data, shape: [...shape] };
}

/** The same numbers in float64. */
export function wide({ data, shape }: Made): Made & { data: Float64Array } {
  return { data: Float64Array.from(data), shape };
}

/** A boolean tensor, each entry true with probability `rate`. */
export function coin(seed: number, shape: readonly number[], rate: number): Made & { dtype: "bool" } {
  const random = new Random(seed);
  const data = Uint8Array.from({ length: size(shape) }, () => random.next() < rate * 2 ** 32 ? 1 : 0);
  return { data, shape: [...shape], dtype: "bool" };
}

/** The same tensor with axes x and y swapped in memory: [0,2,1,3] for "bnhd". */
export function transposed({ data, shape }: Made, order: readonly number[] = [0, 2, 1, 3]): Made {
  const target = order.map((axis) => shape[axis]);
  const out = data.slice();
  for (let flat = 0; flat < data.length; flat++) {
    let rest = flat;
    const index = shape.map(() => 0);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = rest % shape[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    out[order.reduce((at, axis, x) => at * target[x] + index[axis], 0)] = data[flat];
  }
  return { data: out, shape: target };
}

export function size(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** The entries where two lists differ by more than the bound; empty is good. NaN and ∞ must be the same. */
export function beyond(
  got: ArrayLike<number | bigint>,
  want: ArrayLike<number>,
  bound: ArrayLike<number> | number,
): string[] {
  if (got.length !== want.length) return [`expected ${want.length} elements, got ${got.length}`];
  const bad: string[] = [];
  for (let x = 0; x < want.length && bad.length < 5; x++) {
    const value = Number(got[x]);
    const limit = typeof bound === "number" ? bound : bound[x];
    if (Object.is(value, want[x]) || Math.abs(value - want[x]) <= limit) continue;
    bad.push(`[${x}] expected ${want[x]} ± ${limit}, got ${value}`);
  }
  return bad;
}
