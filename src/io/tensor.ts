/**
 * A tensor in a file, and the bytes under it.
 *
 * Files are little-endian and so is every engine that runs WebAssembly SIMD: an aligned range of a file is its
 * tensor, at no copy. Rank and element count are bounded before anything is allocated from them.
 */

import { BYTES, type DType, type TypedArray } from "../dtype.ts";

/** A tensor read from a file or to be written to one: dense, in C order. */
export interface FileTensor {
  /** Element type; float16 and bfloat16 are held as 16-bit words, bool as bytes 0 and 1. */
  dtype: DType;
  /** Lengths of the axes, outermost first; `[]` is a scalar. */
  shape: number[];
  /** The elements, `shape[0] × shape[1] × …` of them. */
  data: TypedArray;
}

/** Tensors by name: what the writers take. */
export type FileTensors = ReadonlyMap<string, FileTensor> | Readonly<Record<string, FileTensor>>;

/** Axes a tensor may have: NumPy 1 stops at 32, and nobody has needed more. */
export const MAX_RANK = 32;

/** A typed array's constructor; `name` is what a message calls it. */
interface ArrayClass {
  new (buffer: ArrayBufferLike, offset?: number, length?: number): TypedArray;
  readonly name: string;
}

const ARRAYS: Readonly<Record<DType, ArrayClass>> = {
  float64: Float64Array,
  float32: Float32Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
};

/** Number of elements, or NaN if it (or, around a 0, any partial product) is no safe integer. */
export function countOf(shape: readonly number[]): number {
  let count = 1;
  let bound = 1;
  for (const length of shape) {
    count *= length;
    bound *= Math.max(length, 1);
  }
  return bound <= Number.MAX_SAFE_INTEGER ? count : NaN;
}

/** `bytes` as a plain Uint8Array: a Buffer's slice() shares memory where an array's copies. */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  if (!ArrayBuffer.isView(bytes) || bytes[Symbol.toStringTag] !== "Uint8Array") {
    throw new TypeError(`bytes: expected a Uint8Array, got ${kindOf(bytes)}`);
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The tensor data in `bytes`, whose length is a multiple of the element's: a view if aligned, else a copy. */
export function arrayOver(dtype: DType, bytes: Uint8Array): TypedArray {
  const Elements = ARRAYS[dtype];
  const size = BYTES[dtype];
  if (bytes.byteOffset % size === 0) {
    return new Elements(bytes.buffer, bytes.byteOffset, bytes.byteLength / size);
  }
  const copy = new Uint8Array(bytes.byteLength);
  copy.set(bytes);
  return new Elements(copy.buffer);
}

/** The bytes under `data`, not copied. */
export function bytesUnder(data: TypedArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Index of the first byte that is no boolean, or −1. */
export function findNonBool(bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i]! > 1) return i;
  }
  return -1;
}

/** The named tensors to write, each checked. */
export function checkTensors(tensors: FileTensors): [name: string, tensor: FileTensor][] {
  if (typeof tensors !== "object" || tensors === null) {
    throw new TypeError(`tensors: expected a Map or an object, got ${kindOf(tensors)}`);
  }
  const named: [string, FileTensor][] = tensors instanceof Map ? [...tensors] : Object.entries(tensors);
  for (const [name, tensor] of named) {
    if (typeof name !== "string") {
      throw new TypeError(`tensors: expected names that are strings, got ${kindOf(name)}`);
    }
    checkTensor(tensor, `tensors.${name}`);
  }
  return named;
}

/** Throws unless `tensor` is whole: a TypeError for a wrong kind, a RangeError for a wrong value. */
export function checkTensor(tensor: FileTensor, field: string): void {
  if (typeof tensor !== "object" || tensor === null) {
    throw new TypeError(`${field}: expected a tensor, got ${kindOf(tensor)}`);
  }
  const { dtype, shape, data } = tensor;
  if (!Object.hasOwn(ARRAYS, dtype)) {
    throw new TypeError(
      `${field}.dtype: expected one of ${Object.keys(ARRAYS).join(", ")}, got ${String(dtype)}`,
    );
  }
  const wanted = ARRAYS[dtype].name;
  if (!ArrayBuffer.isView(data) || data[Symbol.toStringTag] !== wanted) {
    throw new TypeError(`${field}.data: expected ${wanted} for ${dtype}, got ${kindOf(data)}`);
  }
  if (!Array.isArray(shape)) throw new TypeError(`${field}.shape: expected an array, got ${kindOf(shape)}`);
  if (shape.length > MAX_RANK || !shape.every((length) => Number.isSafeInteger(length) && length >= 0)) {
    throw new RangeError(
      `${field}.shape: expected at most ${MAX_RANK} lengths ≥ 0, got [${shape.join(", ")}]`,
    );
  }
  const count = countOf(shape);
  if (Number.isNaN(count)) {
    throw new RangeError(`${field}.shape: expected at most 2^53 - 1 elements, got [${shape.join(", ")}]`);
  }
  if (count !== data.length) {
    throw new RangeError(
      `${field}.data: expected length ${count} for [${shape.join(", ")}], got ${data.length}`,
    );
  }
  const at = dtype === "bool" ? findNonBool(data as Uint8Array) : -1;
  if (at >= 0) throw new RangeError(`${field}.data: expected 0 or 1, got ${data[at]} at ${at}`);
}

function kindOf(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value === null ? null : typeof value);
  return Object.prototype.toString.call(value).slice(8, -1);
}
