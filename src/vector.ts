/** Vectors of numbers among the options: bare arrays, typed ones, or tensors. */
import { describe, integer, MAX_LENGTH, refuse } from "./check.ts";
import type { Vector } from "./options.ts";
import { type TensorInput, toFloat64, type View, view } from "./tensor.ts";

/** A number for all n, or one each. */
export function counts(
  name: string,
  input: number | Vector,
  n: number,
  letters: string,
  low = 0,
): Int32Array {
  if (typeof input === "number") return new Int32Array(n).fill(integer(name, input, low, MAX_LENGTH));
  const values = vector(name, input, [[n]], `a number or ${letters}`);
  return Int32Array.from(values, (value, at) => integer(name, value, low, MAX_LENGTH, at));
}

/** A vector of one of the given shapes (null: of rank 1) as float64; a bare array counts as rank 1. */
export function vector(
  name: string,
  input: Vector,
  shapes: number[][] | null,
  letters: string,
): Float64Array {
  const source = (input as Partial<TensorInput> | null)?.data ? view(name, input as TensorInput) : null;
  const values = source ? toFloat64(source) : bareVector(name, input as ArrayLike<number>, letters);
  const shape = source?.shape ?? [values.length];
  const wanted = shapes ?? [[values.length]];
  if (!wanted.some((want) => sameShape(want, shape))) {
    throw new RangeError(`${name}: expected ${letters} = [${wanted[0]}], got [${shape}]`);
  }
  return values;
}

function bareVector(name: string, input: ArrayLike<number>, letters: string): Float64Array {
  if (typeof input !== "object" || typeof input?.length !== "number") {
    throw new TypeError(`${name}: expected ${letters} as an array or tensor, got ${describe(input)}`);
  }
  return Float64Array.from(input, (x, at) => {
    return typeof x === "number" || typeof x === "bigint"
      ? Number(x)
      : refuse(`${name}[${at}]`, "a number", x);
  });
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((n, axis) => n === b[axis]);
}

/** @throws RangeError unless the view has exactly this shape. */
export function expectShape(name: string, { shape }: View, want: readonly number[]): void {
  if (!sameShape(shape, want)) throw new RangeError(`${name}: expected [${want}], got [${shape}]`);
}
