/** Checks that options share. Success builds no strings; the message starts with the name of what is wrong. */
import { describe, elementReader, sizeOf, type TensorInput, type View, view } from "./tensor.ts";
import type { PerHead, Vector } from "./options.ts";

/** Lengths beyond this would overflow the 32-bit indices of the kernels. */
export const MAX_LENGTH = 2 ** 30;

export function oneOf<T extends string>(name: string, value: unknown, allowed: readonly T[]): T {
  if (typeof value !== "string") throw new TypeError(`${name}: expected a string, got ${describe(value)}`);
  if (!allowed.includes(value as T)) {
    throw new RangeError(`${name}: expected ${allowed.map((x) => `"${x}"`).join(", ")}, got "${value}"`);
  }
  return value as T;
}

export function flag(name: string, value: unknown): boolean {
  if (value !== undefined && typeof value !== "boolean") {
    throw new TypeError(`${name}: expected true or false, got ${describe(value)}`);
  }
  return value === true;
}

export function finite(name: string, value: unknown): number {
  if (typeof value !== "number") throw new TypeError(`${name}: expected a number, got ${describe(value)}`);
  if (!Number.isFinite(value)) throw new RangeError(`${name}: expected a finite number, got ${value}`);
  return value;
}

export function atLeastZero(name: string, value: unknown): number {
  const x = finite(name, value);
  if (x < 0) throw new RangeError(`${name}: expected a number ≥ 0, got ${x}`);
  return x;
}

export function count(name: string, value: unknown): number {
  const x = finite(name, value);
  if (!Number.isInteger(x) || x < 0 || x > MAX_LENGTH) {
    throw new RangeError(`${name}: expected an integer from 0 to 2^30, got ${x}`);
  }
  return x;
}

export function perHeadCount(name: string, input: PerHead<number>, H: number): Int32Array {
  if (typeof input === "number") return new Int32Array(H).fill(count(name, input));
  if (!(Array.isArray(input) || ArrayBuffer.isView(input))) {
    throw new TypeError(`${name}: expected a number or one per head, got ${describe(input)}`);
  }
  if (input.length !== H) {
    throw new RangeError(`${name}: expected one per head (H=${H}), got ${input.length}`);
  }
  return Int32Array.from(input, (n) => count(name, n));
}

/** A vector of one of the given shapes as float64; a bare array counts as rank 1. */
export function vector(name: string, input: Vector, shapes: number[][], letters: string): Float64Array {
  const isTensor = input !== null && typeof input === "object" && "data" in input;
  if (!isTensor && (input === null || typeof input !== "object" || typeof input.length !== "number")) {
    throw new TypeError(`${name}: expected an array or tensor ${letters}, got ${describe(input)}`);
  }
  if (!isTensor) {
    const values = Float64Array.from(input as ArrayLike<number>, (x, at) => {
      if (typeof x === "number" || typeof x === "bigint") return Number(x);
      throw new TypeError(`${name}[${at}]: expected a number, got ${describe(x)}`);
    });
    if (!shapes.some((shape) => shape.length === 1 && shape[0] === values.length)) {
      throw new RangeError(`${name}: expected ${letters} = [${shapes[0]}], got [${values.length}]`);
    }
    return values;
  }
  const source = view(name, input as TensorInput);
  if (
    !shapes.some((shape) =>
      shape.length === source.shape.length && shape.every((n, x) => n === source.shape[x])
    )
  ) {
    throw new RangeError(`${name}: expected ${letters} = [${shapes[0]}], got [${source.shape}]`);
  }
  const read = elementReader(source);
  const values = new Float64Array(sizeOf(source.shape));
  const inner = source.shape.at(-1) ?? 1;
  for (let x = 0; x < values.length; x++) {
    const outer = source.shape.length > 1 ? Math.floor(x / inner) * source.strides[0] : 0;
    values[x] = read(source.offset + outer + (x % inner) * (source.strides.at(-1) ?? 0));
  }
  return values;
}

/** @throws RangeError unless the view has exactly this shape. */
export function expectShape(name: string, { shape }: View, want: readonly number[]): void {
  if (shape.length !== want.length || shape.some((n, axis) => n !== want[axis])) {
    throw new RangeError(`${name}: expected [${want}], got [${shape}]`);
  }
}
