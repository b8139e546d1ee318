/**
 * The subgraph of a FlexAttention node, score_mod or prob_mod: a strict reader of its JSON and an evaluator of its
 * nodes in enclosures, so that the same walk gives the exact value and bounds of what others compute.
 *
 *   { inputs: ["scores"], outputs: ["scores_out"], initializers: { name: {dtype, shape, data} },
 *     nodes: [{ op: "Add", input: ["scores", "bias"], output: ["scores_out"], attrs: {} }] }
 *
 * A tensor may be at most 16 times as large as the scores, so that Expand and Range can't fill the memory.
 */
import type { DType } from "../dtype.ts";
import { describe } from "../check.ts";
import { elementwise } from "./elementwise.ts";
import type { Arithmetic } from "./evaluations.ts";
import { type GraphOperator, list, parseTensor, type Ranged, record, strings } from "./ranged.ts";
import { reductions } from "./reduce.ts";
import { shaping } from "./shaping.ts";

export interface GraphNode {
  readonly op: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attrs: Readonly<Record<string, unknown>>;
}

export interface Graph {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly initializers: ReadonlyMap<string, Ranged>;
  readonly nodes: readonly GraphNode[];
}

const MAX_NODES = 10_000;

/** @throws TypeError or RangeError that names the field, which starts with `name`. */
export function parseGraph(name: string, input: unknown): Graph {
  const graph = record(name, input, ["inputs", "outputs", "initializers", "nodes"]);
  const nodes = list(`${name}.nodes`, graph["nodes"] ?? []);
  if (nodes.length > MAX_NODES) {
    throw new RangeError(`${name}.nodes: expected at most ${MAX_NODES}, got ${nodes.length}`);
  }
  const initializers = graph["initializers"] ?? {};
  if (typeof initializers !== "object" || initializers === null || Array.isArray(initializers)) {
    throw new TypeError(`${name}.initializers: expected an object, got ${describe(initializers)}`);
  }
  const parsed: Graph = {
    inputs: strings(`${name}.inputs`, graph["inputs"]),
    outputs: strings(`${name}.outputs`, graph["outputs"]),
    initializers: new Map(
      Object.entries(initializers).map((
        [key, value],
      ) => [key, parseTensor(`${name}.initializers.${key}`, value)]),
    ),
    nodes: nodes.map((node, x) => parseNode(`${name}.nodes[${x}]`, node)),
  };
  for (const side of ["inputs", "outputs"] as const) {
    if (parsed[side].length !== 1) {
      throw new RangeError(`${name}.${side}: expected one, got ${parsed[side].length}`);
    }
  }
  return parsed;
}

function parseNode(name: string, input: unknown): GraphNode {
  const node = record(name, input, ["op", "input", "output", "attrs", "name"]);
  if (typeof node["op"] !== "string") {
    throw new TypeError(`${name}.op: expected a string, got ${describe(node["op"])}`);
  }
  const attrs = node["attrs"] ?? {};
  if (typeof attrs !== "object" || attrs === null || Array.isArray(attrs)) {
    throw new TypeError(`${name}.attrs: expected an object, got ${describe(attrs)}`);
  }
  const parsed = {
    op: node["op"],
    input: strings(`${name}.input`, node["input"] ?? []),
    output: strings(`${name}.output`, node["output"]),
    attrs: attrs as Record<string, unknown>,
  };
  if (parsed.output.length !== 1) {
    throw new RangeError(`${name}.output: expected one, got ${parsed.output.length}`);
  }
  return parsed;
}

/** The output of the graph for one input. */
export function runGraph(
  name: string,
  graph: Graph,
  argument: Ranged,
  arithmetic: (dtype: DType) => Arithmetic,
): Ranged {
  const tensors = new Map<string, Ranged>(graph.initializers);
  const define = (at: string, key: string, tensor: Ranged) => {
    if (key === "" || tensors.has(key)) throw new RangeError(`${at}: expected a new name, got "${key}"`);
    tensors.set(key, tensor);
  };
  const find = (at: string, key: string) => {
    const found = tensors.get(key);
    if (!found) throw new RangeError(`${at}: expected a tensor that is there, got "${key}"`);
    return found;
  };
  define(`${name}.inputs`, graph.inputs[0], argument);
  const most = 16 * Math.max(argument.lo.length, 4096);
  graph.nodes.forEach((node, x) => {
    const at = `${name}.nodes[${x}] ${node.op}`;
    const operator = operatorOf(node.op);
    if (!operator) throw new RangeError(`${name}.nodes[${x}].op: no such operator here, got "${node.op}"`);
    const inputs = node.input.map((key) => key === "" ? undefined : find(at, key));
    define(at, node.output[0], operator(inputs, { at, attrs: node.attrs, most, arithmetic }));
  });
  const output = find(`${name}.outputs`, graph.outputs[0]);
  if (output.dtype !== argument.dtype || output.shape.join() !== argument.shape.join()) {
    throw new RangeError(
      `${name}.outputs: expected ${argument.dtype} [${argument.shape}], got ${output.dtype} [${output.shape}]`,
    );
  }
  return output;
}

const OPERATORS: Readonly<Record<string, GraphOperator>> = { ...elementwise, ...shaping, ...reductions };

function operatorOf(op: string): GraphOperator | undefined {
  return Object.hasOwn(OPERATORS, op) ? OPERATORS[op] : undefined;
}
