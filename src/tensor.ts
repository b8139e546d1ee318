/**
 * Tensors at the door: what callers may hand in, and the one validated form (a strided view) that everything behind
 * the door works on.
 *
 * Element [x0, x1, …] of a view is data[offset + Σ x·strides]; strides are in elements. A broadcast axis has stride
 * 0, overlapping views are fine, nothing is copied here.
 */
import { describe, expectRecord, integer, MAX_INTEGER, MAX_LENGTH } from "./check.ts";
import {
  BYTES,
  decodeBFloat16,
  decodeFloat16,
  type DType,
  encodeBFloat16,
  encodeFloat16,
  type TypedArray,
} from "./dtype.ts";

/**
 * A tensor as callers spell it: flashtile's `{data, shape, dtype?}` or the `{data, dims, type}` of onnxruntime and
 * transformers.js. Row-major unless `strides` (in elements) says otherwise.
 */
export interface TensorInput {
  readonly data: ArrayBufferView;
  readonly shape?: ArrayLike<number>;
  readonly dims?: ArrayLike<number>;
  /** Needed for 16-bit floats in a Uint16Array and for booleans in a Uint8Array. */
  readonly dtype?: DType;
  readonly type?: string;
  readonly strides?: ArrayLike<number>;
  /** First element, default 0. */
  readonly offset?: number;
}

/** A result: contiguous and row-major. */
export interface Tensor<Data extends TypedArray = TypedArray> {
  readonly data: Data;
  readonly shape: number[];
  readonly dtype: DType;
}

/** A result of numbers; 16-bit floats are words. */
export type FloatTensor = Tensor<Float64Array | Float32Array | Uint16Array>;

/** A validated tensor. */
export interface View {
  readonly data: TypedArray;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  /** Of elements in linear memory, where: growth ends their `data`, which {@link elements} makes anew. */
  readonly resident?: Resident | undefined;
}

/** Element 0 of a tensor in linear memory (runtimetensor.ts), and how many there are. */
export interface Resident {
  readonly memory: WebAssembly.Memory;
  readonly at: number;
  readonly length: number;
  /** A view of them, until memory grows. */
  elements(): TypedArray;
}

const MAX_RANK = 8;

/** Which dtypes a typed array may carry, the first being the default; Uint16Array has none, it must be told. */
const CARRIES: Readonly<Record<string, readonly DType[]>> = {
  Float64Array: ["float64"],
  Float32Array: ["float32"],
  Float16Array: ["float16"],
  Uint16Array: ["float16", "bfloat16"],
  Int8Array: ["int8"],
  Uint8Array: ["uint8", "bool"],
  Int32Array: ["int32"],
  BigInt64Array: ["int64"],
};

/** @throws TypeError for a wrong kind of thing, RangeError for a shape that does not fit its data. */
export function view(name: string, input: TensorInput): View {
  expectRecord(name, input, "a tensor {data, shape}");
  const location = (input as { location?: unknown }).location;
  if (typeof location === "string" && !location.startsWith("cpu") && location !== "none") {
    throw new TypeError(
      `${name}: expected a tensor in CPU memory, got one on ${location}; download it first (await tensor.getData())`,
    );
  }
  // Of a RuntimeTensor, whose `data` is a copy.
  const { resident } = input as { resident?: Resident };
  let data = resident ? resident.elements() : input.data as TypedArray;
  const array = String((data as { [Symbol.toStringTag]?: unknown } | null | undefined)?.[Symbol.toStringTag]);
  const carries = Object.hasOwn(CARRIES, array) ? CARRIES[array] : undefined;
  if (!carries) throw new TypeError(`${name}.data: expected a typed array, got ${describe(data)}`);
  const told = input.dtype ?? input.type;
  const dtype = (told ?? (array === "Uint16Array" ? told : carries[0])) as DType;
  if (!carries.includes(dtype)) {
    throw new TypeError(
      `${name}: expected dtype ${carries.join(" or ")} with a ${array}, got ${told}`,
    );
  }
  // The 16-bit words are what the kernels read.
  if (array === "Float16Array") data = new Uint16Array(data.buffer, data.byteOffset, data.length);

  const shape = lengths(`${name}.shape`, input.shape ?? input.dims);
  const strides = input.strides ? integers(`${name}.strides`, input.strides) : rowMajor(shape);
  if (strides.length !== shape.length) {
    throw new RangeError(`${name}.strides: expected ${shape.length} strides, got ${strides.length}`);
  }
  const offset = input.offset ?? 0;
  if (offset !== 0) integer(`${name}.offset`, offset, 0, MAX_INTEGER);
  checkExtent(name, data.length, shape, strides, offset);
  return { data, dtype, shape, strides, offset, resident };
}

/** A shape. */
export function lengths(name: string, dims: ArrayLike<number | bigint> | undefined): number[] {
  if (typeof dims?.length !== "number") {
    throw new TypeError(`${name}: expected an array of numbers, got ${describe(dims)}`);
  }
  const shape = integers(name, dims, 0, MAX_LENGTH);
  if (shape.length > MAX_RANK) {
    throw new RangeError(`${name}: expected at most ${MAX_RANK} axes, got ${shape.length}`);
  }
  return shape;
}

/** What the indices of a view point into. */
export function elements({ data, resident }: View): TypedArray {
  return resident ? resident.elements() : data;
}

/** The first and last element of a view must lie in its data. */
function checkExtent(name: string, length: number, shape: number[], strides: number[], offset: number): void {
  let low = offset;
  let high = offset;
  for (let axis = 0; axis < shape.length; axis++) {
    const reach = (shape[axis] - 1) * strides[axis];
    low += Math.min(reach, 0);
    high += Math.max(reach, 0);
  }
  if (!shape.includes(0) && (low < 0 || !(high < length))) {
    throw new RangeError(
      `${name}: expected data for shape [${shape}] (elements ${low} to ${high}), got ${length}`,
    );
  }
}

/** numpy's rule: axes align at the right, length 1 stretches. */
export function broadcast(name: string, source: View, shape: readonly number[], letters: string): View {
  const lead = shape.length - source.shape.length;
  const fits = source.shape.every((n, axis) => n === 1 || n === shape[lead + axis]);
  if (lead < 0 || !fits) {
    throw new RangeError(
      `${name}: expected a shape that broadcasts to ${letters} = [${shape}], got [${source.shape}]`,
    );
  }
  const strides = shape.map((_, axis) => source.shape[axis - lead] > 1 ? source.strides[axis - lead] : 0);
  return { ...source, shape, strides };
}

/** The same elements with the axes in another order. */
export function permute(source: View, axes: readonly number[]): View {
  return {
    ...source,
    shape: axes.map((axis) => source.shape[axis]),
    strides: axes.map((axis) => source.strides[axis]),
  };
}

export function rowMajor(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** True if the elements of the view lie one after the other in row-major order. */
export function isContiguous({ shape, strides }: View): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis];
  }
  return true;
}

/** Element → number, exact for every dtype but int64 beyond 2^53. */
export function elementReader(source: View): (index: number) => number {
  const { dtype } = source;
  const data = elements(source);
  if (dtype === "float16") return (index) => decodeFloat16(data[index] as number);
  if (dtype === "bfloat16") return (index) => decodeBFloat16(data[index] as number);
  return (index) => Number(data[index]);
}

/** All elements in row-major order as float64; always a copy. */
export function toFloat64(source: View): Float64Array {
  const { shape, strides, offset } = source;
  const out = new Float64Array(sizeOf(shape));
  const read = elementReader(source);
  const rank = shape.length;
  const inner = shape[rank - 1] ?? 1;
  const step = strides[rank - 1] ?? 1;
  const counter = new Array<number>(rank).fill(0);
  let row = offset;
  for (let at = 0; at < out.length; at += inner) {
    for (let x = 0; x < inner; x++) out[at + x] = read(row + x * step);
    for (let axis = rank - 2; axis >= 0; axis--) {
      row += strides[axis];
      if (++counter[axis] < shape[axis]) break;
      row -= strides[axis] * shape[axis];
      counter[axis] = 0;
    }
  }
  return out;
}

/** Numbers → a new array of the dtype, rounded to nearest, ties to even. */
export function fromFloat64(values: Float64Array, dtype: DType): FloatTensor["data"] {
  if (dtype === "float64") return values;
  if (dtype === "float32") return Float32Array.from(values);
  return Uint16Array.from(values, dtype === "float16" ? encodeFloat16 : encodeBFloat16);
}

/** Bytes the elements of a view take once packed. */
export function byteSize({ shape, dtype }: View): number {
  return sizeOf(shape) * BYTES[dtype];
}

/** An array of integers out of anything array-like; bigints of onnxruntime's int64 tensors included. */
export function integers(
  name: string,
  values: ArrayLike<number | bigint>,
  low = -MAX_INTEGER,
  high = MAX_INTEGER,
): number[] {
  const result: number[] = [];
  for (let x = 0; x < values.length; x++) result.push(integer(name, Number(values[x]), low, high, x));
  return result;
}
