/**
 * What a node of a graph is made of, and the checks that all operators share: inputs and attributes by their ONNX
 * names, nothing unknown, nothing missing, every message starting with the name.
 */
import type { DType } from "../dtype.ts";
import type { AttentionOptions } from "../options.ts";
import type { Problem } from "../problem.ts";
import { attention as reference } from "../reference/attention.ts";
import type { RotaryTables } from "../rotary.ts";
import type { AttentionResult } from "../result.ts";
import { describe } from "../check.ts";
import { type FloatTensor, fromFloat64, type TensorInput, type View, view } from "../tensor.ts";

/** Anything with the signature of `attention`: the oracle, or a runtime. */
export type AttentionFunction = (
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  options?: AttentionOptions,
) => AttentionResult;

/**
 * Operations that nodes come down to, each with the signature that a runtime's `sync` has. What isn't there, and
 * whatever takes float64, is computed in float64 by the oracle's code.
 */
export interface Operations {
  readonly attention: AttentionFunction;
  /** [B,H,N,M] at a stage; for qk_matmul_output. */
  scores?(q: TensorInput, k: TensorInput, options?: AttentionOptions & { stage?: ScoreStage }): FloatTensor;
  /** softmax along an axis, or its logarithm. */
  softmax?(x: TensorInput, options?: { axis?: number; log?: boolean }): FloatTensor;
  /** Rotary embedding of x [B,H,N,D]. */
  applyRotary?(x: TensorInput, tables: RotaryTables): FloatTensor;
}

/** How far scores are computed. */
export type ScoreStage = "raw" | "capped" | "biased" | "weights";

/** How a node is run. */
export interface NodeOptions {
  /** What computes: an attention, or `sync` of a runtime; the float64 oracle unless told. */
  readonly implementation?: AttentionFunction | Operations;
  /** Version of the operator set: the newest that flashtile knows unless told. */
  readonly opset?: number;
  /** Optional outputs to compute; all but the debugging ones unless told. */
  readonly outputs?: readonly string[];
}

export type Inputs = Readonly<Record<string, TensorInput | undefined>>;
export type AttributeKind = "int" | "float" | "graph";
export type Attributes = Readonly<Record<string, unknown>>;

/** A checked node. */
export interface Node {
  readonly inputs: ReadonlyMap<string, View>;
  readonly attributes: Attributes;
  readonly opset: number;
  readonly outputs: ReadonlySet<string> | null;
  readonly implementation: Operations;
}

/** An output before it is rounded to the dtype it is stored in. */
export interface Result {
  readonly values: Float64Array;
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Who made it: the implementation, the operator's own code in float64, or the inputs, of which it is a copy. */
  readonly by: "implementation" | "operator" | "inputs";
  /** The problem of attention that `implementation` solved for it, if it was one, and which of its results this is. */
  readonly problem: Problem | null;
  readonly of?: "out" | "probabilities";
  /** Where float32 kernels may end up if they made it, where `problem` doesn't say so. */
  own?(): Range;
}

/** What an operator takes and gives, by name. */
export interface Signature {
  readonly name: string;
  readonly domain: string;
  /** First opset, and the newest that changed something. */
  readonly since: number;
  readonly newest: number;
  readonly inputs: readonly string[];
  /** How many of the inputs, from the first, must be there. */
  readonly required: number;
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, AttributeKind>>;
}

/** An operator that case files may hold: its signature, its evaluation and the bounds of other evaluations. */
export interface Operator extends Signature {
  evaluate(node: Node): Record<string, Result>;
  /**
   * Where an ONNX runtime's outputs may lie, one record for each way of evaluating that is in use; see evaluations.ts.
   * An output that isn't there is copied from the inputs, bit by bit.
   */
  enclose(node: Node): Record<string, Range>[];
}

/** Element x lies in [lo[x], hi[x]]; the same array twice where it is known. */
export interface Range {
  readonly shape: readonly number[];
  readonly lo: Float64Array;
  readonly hi: Float64Array;
}

export const ORACLE: Operations = { attention: reference };

/** @throws TypeError for what is missing, unknown or of the wrong kind; RangeError for an opset that's too old. */
export function createNode(
  operator: Signature,
  inputs: Inputs,
  attributes: Attributes,
  options: NodeOptions,
): Node {
  if (inputs === null || typeof inputs !== "object") {
    throw new TypeError(`inputs: expected an object of tensors, got ${describe(inputs)}`);
  }
  const views = new Map<string, View>();
  for (const [name, input] of Object.entries(inputs)) {
    if (!operator.inputs.includes(name)) {
      throw new TypeError(
        `${name}: no such input of ${operator.name}; there are ${operator.inputs.join(", ")}`,
      );
    }
    if (input !== undefined) views.set(name, view(name, input));
  }
  for (const name of operator.inputs.slice(0, operator.required)) {
    if (!views.has(name)) throw new TypeError(`${name}: expected a tensor, got none`);
  }
  const opset = options.opset ?? operator.newest;
  if (!Number.isInteger(opset) || opset < operator.since) {
    throw new RangeError(`opset: expected an integer ≥ ${operator.since} for ${operator.name}, got ${opset}`);
  }
  for (const name of options.outputs ?? []) {
    if (!operator.outputs.includes(name)) {
      throw new TypeError(
        `${name}: no such output of ${operator.name}; there are ${operator.outputs.join(", ")}`,
      );
    }
  }
  return {
    inputs: views,
    attributes: checkAttributes(operator, attributes),
    opset,
    outputs: options.outputs ? new Set(options.outputs) : null,
    implementation: typeof options.implementation === "function"
      ? { attention: options.implementation }
      : options.implementation ?? ORACLE,
  };
}

function checkAttributes(operator: Signature, attributes: Attributes): Attributes {
  if (attributes === null || typeof attributes !== "object") {
    throw new TypeError(`attributes: expected an object, got ${describe(attributes)}`);
  }
  const checked: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(attributes)) {
    const kind = Object.hasOwn(operator.attributes, name) ? operator.attributes[name] : undefined;
    if (kind === undefined) {
      throw new TypeError(
        `${name}: no such attribute of ${operator.name}; there are ${
          Object.keys(operator.attributes).join(", ")
        }`,
      );
    }
    if (value === undefined) continue;
    if (kind === "graph") {
      if (value === null || typeof value !== "object") {
        throw new TypeError(`${name}: expected a graph, got ${describe(value)}`);
      }
      checked[name] = value;
      continue;
    }
    const number = typeof value === "boolean" ? Number(value) : value;
    if (typeof number !== "number") throw new TypeError(`${name}: expected a number, got ${describe(value)}`);
    if (kind === "int" ? !Number.isSafeInteger(number) : !Number.isFinite(number)) {
      const wanted = kind === "int" ? "an integer" : "a finite number";
      throw new RangeError(`${name}: expected ${wanted}, got ${number}`);
    }
    checked[name] = number;
  }
  return checked;
}

/** An attribute that is a number, or its default. */
export function number<T>(node: Node, name: string, absent: T): number | T {
  return (node.attributes[name] ?? absent) as number | T;
}

/** An attribute that is 0 or 1. */
export function flag(node: Node, name: string, absent = false): boolean {
  const value = number(node, name, Number(absent));
  if (value !== 0 && value !== 1) throw new RangeError(`${name}: expected 0 or 1, got ${value}`);
  return value === 1;
}

export function input(node: Node, name: string): View {
  return node.inputs.get(name)!;
}

const FLOATS: readonly DType[] = ["float64", "float32", "float16", "bfloat16"];

/** An input that must be floating. */
export function floating(node: Node, name: string): View {
  const source = input(node, name);
  if (!FLOATS.includes(source.dtype)) {
    throw new TypeError(`${name}: expected a floating dtype, got ${source.dtype}`);
  }
  return source;
}

/** Two inputs that come together or not at all. */
export function pair(node: Node, first: string, second: string): [View, View] | [null, null] {
  const found = [first, second].map((name) => node.inputs.has(name));
  if (found[0] !== found[1]) {
    const [there, missing] = found[0] ? [first, second] : [second, first];
    throw new TypeError(`${missing}: expected a tensor with ${there}, got none`);
  }
  return found[0] ? [floating(node, first), floating(node, second)] : [null, null];
}

/** @throws RangeError unless the shape is the expected one, in which null stands for any length. */
export function checkShape(
  name: string,
  source: View,
  expected: readonly (number | null)[],
  letters: string,
): void {
  const { shape } = source;
  if (shape.length !== expected.length || expected.some((n, axis) => n !== null && n !== shape[axis])) {
    const known = expected.map((n) => n ?? "_").join(",");
    throw new RangeError(`${name}: expected ${letters} = [${known}], got [${shape}]`);
  }
}

/** @throws RangeError for heads without width: a scale of 1/√0. */
export function checkWidth(name: string, { shape }: View): void {
  if (shape[3] === 0) throw new RangeError(`${name}: expected a head width D ≥ 1, got [${shape}]`);
}

/** @throws TypeError unless the dtype is that of another input. */
export function checkDType(name: string, source: View, dtype: DType, like: string): void {
  if (source.dtype !== dtype) {
    throw new TypeError(`${name}: expected ${dtype} like ${like}, got ${source.dtype}`);
  }
}

/** The outputs, each rounded to its dtype. */
export function stored(results: Record<string, Result>): Record<string, FloatTensor> {
  const tensors: Record<string, FloatTensor> = {};
  for (const [name, { values, shape, dtype }] of Object.entries(results)) {
    tensors[name] = { data: fromFloat64(values, dtype), shape: [...shape], dtype };
  }
  return tensors;
}

const SOFTMAX_PRECISION: Readonly<Record<number, DType>> = {
  1: "float32",
  10: "float16",
  11: "float64",
  16: "bfloat16",
};

/** The dtype that `softmax_precision` names by its number in TensorProto.DataType; null if it's absent. */
export function softmaxPrecision(node: Node): DType | null {
  const code = number(node, "softmax_precision", null);
  if (code === null) return null;
  if (!Object.hasOwn(SOFTMAX_PRECISION, code)) {
    throw new RangeError(`softmax_precision: expected 1, 10, 11 or 16, got ${code}`);
  }
  return SOFTMAX_PRECISION[code];
}
