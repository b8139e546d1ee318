/**
 * ONNX case files: a node test as a safetensors file. Inputs and expected outputs are tensors by the names that the
 * node gives them; `__metadata__` says which node it is:
 *
 *   op, domain, opset           Attention, RotaryEmbedding, Softmax, LogSoftmax or FlexAttention
 *   inputs, outputs             JSON lists of names in the order of the operator's signature, "" where one is left out
 *   attributes                  JSON list of the attributes that the node has; each is a key with its value as a string
 *
 * The file is evaluated from these alone: case, source, license, rtol, atol, mod_hint and what starts with x_ is
 * information. Any other key or tensor fails the case by name.
 *
 * For a verifier: `isOnnxCase(metadata)` tells such a file from others, `compareOnnxCase(metadata, tensors,
 * implementation)` returns each expected output with what was computed and the bound of the expectation's own error.
 */
import { printable } from "../io/fault.ts";
import type { FileTensor } from "../io/tensor.ts";
import { describe } from "../check.ts";
import type { FloatTensor } from "../tensor.ts";
import { ATTENTION } from "./attention.ts";
import { compareNode, type Comparison } from "./bounds.ts";
import { FLEX_ATTENTION } from "./flex.ts";
import {
  type AttentionFunction,
  type Attributes,
  createNode,
  type Inputs,
  type Node,
  type Operations,
  type Operator,
  stored,
} from "./node.ts";
import { ROTARY_EMBEDDING } from "./rotary.ts";
import { LOG_SOFTMAX, SOFTMAX } from "./softmax.ts";

export const OPERATORS: readonly Operator[] = [
  ATTENTION,
  ROTARY_EMBEDDING,
  SOFTMAX,
  LOG_SOFTMAX,
  FLEX_ATTENTION,
];

/** `__metadata__` of a safetensors file: strings by name. */
export type Metadata = Readonly<Record<string, string>>;

const STRUCTURE: ReadonlySet<string> = new Set(["op", "domain", "opset", "inputs", "outputs", "attributes"]);
const INFORMATION: ReadonlySet<string> = new Set([
  ...["case", "source", "license", "rtol", "atol", "mod_hint", "tags", "note"],
]);

interface OnnxCase {
  readonly operator: Operator;
  readonly node: Node;
  /** Formal name → name in the file, of the outputs that the node has. */
  readonly outputs: ReadonlyMap<string, string>;
}

/**
 * Is this a case file of an ONNX node?
 *
 * @example
 * ```ts
 * import { isOnnxCase } from "flashtile/onnx";
 * console.log(isOnnxCase({ op: "Softmax", opset: "13" }), isOnnxCase({ attention: "{}" })); // true false
 * ```
 */
export function isOnnxCase(metadata: Metadata): boolean {
  return Object.hasOwn(metadata, "op");
}

/**
 * Runs an ONNX case file.
 *
 * @param metadata `__metadata__` of the file.
 * @param tensors Its tensors; expected outputs may be missing.
 * @param implementation What computes the main output; the float64 oracle unless told.
 * @returns The node's outputs by the names that the file gives them, in their dtypes.
 * @throws {TypeError} A name that the node doesn't have, or a wrong kind of thing; the message starts with its name.
 * @throws {RangeError} A wrong value or shape.
 *
 * @example
 * ```ts
 * import { runOnnxCase } from "flashtile/onnx";
 * const metadata = { op: "Softmax", opset: "13", inputs: '["x"]', outputs: '["y"]' };
 * const x = { dtype: "float32" as const, shape: [1, 2], data: new Float32Array([3, 3]) };
 * console.log(Array.from(runOnnxCase(metadata, new Map([["x", x]])).get("y")!.data)); // [ 0.5, 0.5 ]
 * ```
 */
export function runOnnxCase(
  metadata: Metadata,
  tensors: ReadonlyMap<string, FileTensor>,
  implementation?: AttentionFunction | Operations,
): Map<string, FloatTensor> {
  const { operator, node, outputs } = parse(metadata, tensors, implementation);
  const results = stored(operator.evaluate(node));
  return new Map([...outputs].map(([formal, name]) => [name, present(results[formal], name)]));
}

/**
 * Runs an ONNX case file and sets each expected output beside what was computed, with the bound of the expectation's
 * own error.
 *
 * @throws As {@link runOnnxCase}; also RangeError for an expected output of another dtype or shape.
 *
 * @example
 * ```ts
 * import { compareOnnxCase } from "flashtile/onnx";
 * const metadata = { op: "Softmax", opset: "13", inputs: '["x"]', outputs: '["y"]' };
 * const x = { dtype: "float32" as const, shape: [1, 2], data: new Float32Array([3, 3]) };
 * const y = { dtype: "float32" as const, shape: [1, 2], data: new Float32Array([0.5, 0.75]) };
 * const [{ got, bound }] = compareOnnxCase(metadata, new Map([["x", x], ["y", y]]));
 * console.log(Math.abs(got[1] - y.data[1]) <= bound[1]); // false
 * ```
 */
export function compareOnnxCase(
  metadata: Metadata,
  tensors: ReadonlyMap<string, FileTensor>,
  implementation?: AttentionFunction | Operations,
): Comparison[] {
  const { operator, node, outputs } = parse(metadata, tensors, implementation);
  const expected = new Map<string, FileTensor>();
  for (const [formal, name] of outputs) {
    const tensor = tensors.get(name);
    if (tensor) expected.set(formal, tensor);
  }
  if (expected.size === 0) {
    throw new RangeError(`outputs: expected a tensor for one of ${[...outputs.values()]}`);
  }
  return compareNode(operator, node, expected, outputs);
}

function present<T>(value: T | undefined, name: string): T {
  if (value === undefined) {
    throw new RangeError(`${name}: expected an output that the node computes, got none`);
  }
  return value;
}

function parse(
  metadata: Metadata,
  tensors: ReadonlyMap<string, FileTensor>,
  implementation: AttentionFunction | Operations | undefined,
): OnnxCase {
  const operator = operatorOf(metadata);
  const inputs = signature(metadata, "inputs", operator.inputs);
  const outputs = signature(metadata, "outputs", operator.outputs);
  const names = new Set([...inputs.values(), ...outputs.values()]);
  for (const name of tensors.keys()) {
    if (!names.has(name)) throw new TypeError(`${printable(name)}: no such tensor of this node`);
  }
  const given: Record<string, FileTensor> = {};
  for (const [formal, name] of inputs) {
    const tensor = tensors.get(name);
    if (!tensor) throw new TypeError(`${name}: expected a tensor, got none`);
    given[formal] = tensor;
  }
  const options = {
    outputs: [...outputs.keys()],
    ...(metadata["opset"] !== undefined && { opset: numberOf("opset", metadata["opset"]) }),
    ...(implementation && { implementation }),
  };
  const node = createNode(operator, given as Inputs, attributesOf(operator, metadata), options);
  return { operator, node, outputs };
}

function operatorOf(metadata: Metadata): Operator {
  const found = OPERATORS.filter(({ name }) => name === metadata["op"]);
  if (found.length === 0) {
    const names = OPERATORS.map(({ name }) => name).join(", ");
    throw new RangeError(`op: expected one of ${names}, got ${JSON.stringify(metadata["op"])}`);
  }
  const domain = metadata["domain"] ?? found[0].domain;
  if ((domain === "ai.onnx" ? "" : domain) !== found[0].domain) {
    throw new RangeError(
      `domain: expected "${found[0].domain}" for ${found[0].name}, got "${printable(domain)}"`,
    );
  }
  return found[0];
}

/** Formal name → name in the file; positions left out with "" aren't there. */
function signature(
  metadata: Metadata,
  key: "inputs" | "outputs",
  formal: readonly string[],
): Map<string, string> {
  const names = json(key, metadata[key] ?? "");
  if (!Array.isArray(names) || names.some((name) => typeof name !== "string")) {
    throw new TypeError(`${key}: expected a JSON list of names, got ${describe(names)}`);
  }
  if (names.length > formal.length) {
    throw new RangeError(
      `${key}: expected at most ${formal.length} (${formal.join(", ")}), got ${names.length}`,
    );
  }
  const found = new Map<string, string>();
  names.forEach((name: string, x) => {
    if (name === "") return;
    if ([...found.values()].includes(name)) {
      throw new RangeError(`${key}: expected each name once, got ${name} twice`);
    }
    found.set(formal[x], name);
  });
  return found;
}

function attributesOf(operator: Operator, metadata: Metadata): Attributes {
  const attributes: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(metadata)) {
    if (STRUCTURE.has(key) || INFORMATION.has(key) || key.startsWith("x_")) continue;
    const kind = Object.hasOwn(operator.attributes, key) ? operator.attributes[key] : undefined;
    if (kind === undefined) throw new TypeError(`${printable(key)}: no such attribute of ${operator.name}`);
    attributes[key] = kind === "graph" ? json(key, value) : numberOf(key, value);
  }
  const listed = metadata["attributes"] === undefined ? [] : json("attributes", metadata["attributes"]);
  if (!Array.isArray(listed)) {
    throw new TypeError(`attributes: expected a JSON list, got ${describe(listed)}`);
  }
  for (const name of listed) {
    if (!Object.hasOwn(attributes, name)) {
      throw new TypeError(`attributes: expected a value for ${describe(name)}`);
    }
  }
  return attributes;
}

function numberOf(key: string, text: string): number {
  const value = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : NaN;
  if (!Number.isFinite(value)) throw new RangeError(`${key}: expected a number, got "${printable(text)}"`);
  return value;
}

function json(key: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new SyntaxError(`${key}: expected JSON, got ${printable(text)}`);
  }
}
