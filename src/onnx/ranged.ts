/**
 * Tensors of a subgraph as enclosures, their JSON, and what all its operators check.
 *
 * JSON: { dtype: "F32", shape: [2], data: [0.5, "-Infinity"] }, with safetensors' names of the dtypes and words for the
 * numbers that JSON lacks. Integers are exact within ±2^53.
 */
import type { DType } from "../dtype.ts";
import { describe } from "../check.ts";
import { rowMajor, sizeOf } from "../tensor.ts";
import { type Arithmetic, nearest } from "./evaluations.ts";

/** A tensor of the subgraph: element x lies in [lo[x], hi[x]], one array if it's known. */
export interface Ranged {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly lo: Float64Array;
  readonly hi: Float64Array;
}

/** What an operator of the subgraph may know. */
export interface GraphContext {
  /** For messages: `score_mod.nodes[3] Add`. */
  readonly at: string;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly most: number;
  arithmetic(dtype: DType): Arithmetic;
}

/** An operator of a subgraph; inputs left out are undefined. */
export type GraphOperator = (inputs: readonly (Ranged | undefined)[], context: GraphContext) => Ranged;

const DTYPES: Readonly<Record<string, DType>> = {
  F64: "float64",
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
  I64: "int64",
  I32: "int32",
  I8: "int8",
  U8: "uint8",
  BOOL: "bool",
};

/** TensorProto.DataType, as attributes number it. */
export const DTYPE_CODES: Readonly<Record<number, DType>> = {
  1: "float32",
  2: "uint8",
  3: "int8",
  6: "int32",
  7: "int64",
  9: "bool",
  10: "float16",
  11: "float64",
  16: "bfloat16",
};

export function isFloat(dtype: DType): boolean {
  return dtype === "float64" || dtype === "float32" || dtype === "float16" || dtype === "bfloat16";
}

/** {dtype, shape, data} of a subgraph's JSON. */
export function parseTensor(name: string, input: unknown): Ranged {
  const tensor = record(name, input, ["dtype", "shape", "data"]);
  const code = tensor["dtype"];
  const dtype = typeof code === "string" && Object.hasOwn(DTYPES, code) ? DTYPES[code] : undefined;
  if (!dtype) {
    throw new TypeError(
      `${name}.dtype: expected one of ${Object.keys(DTYPES).join(", ")}, got ${describe(code)}`,
    );
  }
  const shape = list(`${name}.shape`, tensor["shape"]).map((n) => {
    if (!Number.isSafeInteger(n) || (n as number) < 0) {
      throw new RangeError(`${name}.shape: expected integers ≥ 0, got ${describe(n)}`);
    }
    return n as number;
  });
  const data = list(`${name}.data`, tensor["data"]);
  if (sizeOf(shape) !== data.length) {
    throw new RangeError(
      `${name}.data: expected ${sizeOf(shape)} elements for [${shape}], got ${data.length}`,
    );
  }
  const round = nearest(dtype);
  const values = Float64Array.from(data, (x) => round(parseNumber(`${name}.data`, x)));
  if (!isFloat(dtype) && values.some((x) => !Number.isSafeInteger(x))) {
    throw new RangeError(`${name}.data: expected integers within ±2^53 for ${code as string}`);
  }
  return { dtype, shape, lo: values, hi: values };
}

const WORDS: Readonly<Record<string, number>> = {
  Infinity: Infinity,
  "-Infinity": -Infinity,
  NaN: NaN,
  inf: Infinity,
  "-inf": -Infinity,
  nan: NaN,
};

function parseNumber(name: string, x: unknown): number {
  if (typeof x === "number") return x;
  if (typeof x === "boolean") return Number(x);
  if (typeof x === "string" && Object.hasOwn(WORDS, x)) return WORDS[x];
  throw new TypeError(`${name}: expected numbers, got ${describe(x)}`);
}

/** @throws TypeError for an attribute that this operator doesn't have. */
export function onlyAttributes({ at, attrs }: GraphContext, names: readonly string[]): void {
  for (const name of Object.keys(attrs)) {
    if (!names.includes(name)) {
      throw new TypeError(
        `${at}: ${name}: no such attribute${names.length ? `; there are ${names.join(", ")}` : ""}`,
      );
    }
  }
}

/** @throws RangeError unless there are as many inputs as the operator takes. */
export function required(
  inputs: readonly (Ranged | undefined)[],
  [least, most]: readonly [number, number],
  { at }: GraphContext,
): Ranged[] {
  if (inputs.length < least || inputs.length > most || inputs.includes(undefined)) {
    const wanted = least === most ? `${least}` : `${least} to ${most}`;
    throw new RangeError(
      `${at}: expected ${wanted} inputs, got ${inputs.filter((x) => x !== undefined).length}`,
    );
  }
  return inputs as Ranged[];
}

export function dtypeOf({ at, attrs }: GraphContext, name: string): DType {
  const code = attrs[name];
  const dtype = typeof code === "number" && Object.hasOwn(DTYPE_CODES, code) ? DTYPE_CODES[code] : undefined;
  if (!dtype) {
    throw new RangeError(
      `${at}: ${name}: expected one of ${Object.keys(DTYPE_CODES).join(", ")}, got ${describe(code)}`,
    );
  }
  return dtype;
}

/** @throws RangeError for a tensor beyond the bound of this graph. */
export function checkSize(shape: readonly number[], at: string, most: number): void {
  let size = 1;
  for (const n of shape) {
    if (!Number.isSafeInteger(n) || n < 0 || n > most) {
      throw new RangeError(`${at}: expected lengths from 0 to ${most}, got [${shape}]`);
    }
    size *= Math.max(1, n);
    if (size > most) throw new RangeError(`${at}: expected at most ${most} elements, got [${shape}]`);
  }
}

/** Strides of a row-major tensor as it is stretched to a shape. */
export function stepsOf(shape: readonly number[], to: readonly number[]): number[] {
  const own = rowMajor(shape);
  const lead = to.length - shape.length;
  return to.map((_, axis) => axis < lead || shape[axis - lead] === 1 ? 0 : own[axis - lead]);
}

/** An object with these keys and no other. */
export function record(name: string, input: unknown, keys: readonly string[]): Record<string, unknown> {
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    throw new TypeError(`${name}: expected an object, got ${describe(input)}`);
  }
  for (const key of Object.keys(input)) {
    if (!keys.includes(key)) throw new TypeError(`${name}.${key}: expected only ${keys.join(", ")}`);
  }
  return input as Record<string, unknown>;
}

export function list(name: string, input: unknown): unknown[] {
  if (!Array.isArray(input)) throw new TypeError(`${name}: expected a list, got ${describe(input)}`);
  return input;
}

export function strings(name: string, input: unknown): string[] {
  return list(name, input).map((x) => {
    if (typeof x !== "string") throw new TypeError(`${name}: expected strings, got ${describe(x)}`);
    return x;
  });
}
