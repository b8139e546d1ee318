/**
 * ONNX FlexAttention (ai.onnx.preview, opset 1):
 *
 *   x = score_mod((√s·Q)(√s·K)ᵀ)    P = prob_mod(softmax(x))    Y = P·V
 *
 * Source: onnx/defs/preview/defs.cc. The modifiers are subgraphs over whole [B,H,N,M] tensors in softmax_precision
 * (float32 unless told, float64 for float64 inputs). A row whose scores are all −∞ is NaN, as Softmax has it: the
 * operator knows no mask and so no empty row.
 *
 * Q [B,H,N,D], K [B,G,M,D], V [B,G,M,E] → Y [B,H,N,E].
 */
import type { DType } from "../dtype.ts";
import type { AttentionOptions } from "../options.ts";
import { createProblem, type Problem } from "../problem.ts";
import { type FloatTensor, type TensorInput, toFloat64, type View, view } from "../tensor.ts";
import { type Evaluation, exactly, losesDigits, others, to } from "./evaluations.ts";
import { type Graph, parseGraph, runGraph } from "./graph.ts";
import {
  checkDType,
  checkShape,
  checkWidth,
  createNode,
  floating,
  type Inputs,
  type Node,
  type NodeOptions,
  number,
  type Operator,
  type Range,
  softmaxPrecision,
  stored,
} from "./node.ts";
import { mapRange, outputSteps, scoreSteps, softmaxSteps } from "./steps.ts";

/** Inputs of FlexAttention. */
export interface FlexAttentionInputs {
  /** [B,H,N,D], [B,G,M,D], [B,G,M,E]; one dtype. */
  readonly Q: TensorInput;
  readonly K: TensorInput;
  readonly V: TensorInput;
}

/** Attributes of FlexAttention; the modifiers are graphs of ONNX nodes. */
export interface FlexAttentionAttributes {
  /** 1/√D unless told. */
  readonly scale?: number;
  /** 1 float32, 10 float16, 11 float64, 16 bfloat16. */
  readonly softmax_precision?: number;
  /** Subgraphs [B,H,N,M] → [B,H,N,M], as JSON: see graph.ts. */
  readonly score_mod?: object;
  readonly prob_mod?: object;
}

interface Call {
  readonly q: View;
  readonly k: View;
  readonly v: View;
  readonly options: AttentionOptions;
  readonly problem: Problem;
  readonly dtype: DType;
  readonly precision: DType;
  readonly scoreMod: Graph | null;
  readonly probMod: Graph | null;
}

export const FLEX_ATTENTION: Operator = {
  name: "FlexAttention",
  domain: "ai.onnx.preview",
  since: 1,
  newest: 1,
  inputs: ["Q", "K", "V"],
  required: 3,
  outputs: ["Y"],
  attributes: { scale: "float", softmax_precision: "int", score_mod: "graph", prob_mod: "graph" },
  evaluate(node) {
    const call = prepare(node);
    const { q, k, v, options, problem, dtype, precision, scoreMod, probMod } = call;
    const shape = [problem.B, problem.H, problem.N, problem.E];
    if (scoreMod || probMod || losesDigits(precision, dtype)) {
      return {
        Y: {
          values: output(call, exactly(precision, dtype, "precision")).lo,
          ...{ shape, dtype, problem: null, by: "operator" },
        },
      };
    }
    const { out } = node.implementation.attention(q, k, v, options);
    return { Y: { values: toFloat64(view("out", out)), shape, dtype, problem, by: "implementation" } };
  },
  enclose(node) {
    const call = prepare(node);
    const { down, up } = to(call.dtype);
    return others(call.precision, call.dtype, "precision")
      .map((evaluation) => ({ Y: mapRange(output(call, evaluation), down, up) }));
  },
};

/**
 * ONNX's FlexAttention operator: attention with its scores and probabilities modified by subgraphs.
 *
 * @param inputs Tensors by their ONNX names.
 * @param attributes Attributes by their ONNX names; the subgraphs as JSON.
 * @param options `implementation` computes Y where there is no modifier, the float64 oracle unless told.
 * @returns Y [B,H,N,E] in the dtype of Q.
 * @throws {TypeError} A wrong kind of thing; the message starts with its name.
 * @throws {RangeError} A wrong value or shape, or an operator that the evaluator of subgraphs doesn't know.
 *
 * @example
 * ```ts
 * import { flexAttention } from "flashtile/onnx";
 * const x = { data: new Float32Array([1, 3]), shape: [1, 1, 2, 1] };
 * const half = {
 *   inputs: ["p"],
 *   outputs: ["y"],
 *   initializers: { c: { dtype: "F32", shape: [], data: [0.5] } },
 *   nodes: [{ op: "Mul", input: ["p", "c"], output: ["y"], attrs: {} }],
 * };
 * const { Y } = flexAttention({ Q: x, K: x, V: x }, { scale: 0, prob_mod: half });
 * console.log(Array.from(Y.data)); // [ 1, 1 ]
 * ```
 */
export function flexAttention(
  inputs: FlexAttentionInputs,
  attributes: FlexAttentionAttributes = {},
  options: NodeOptions = {},
): { Y: FloatTensor } {
  const node = createNode(FLEX_ATTENTION, inputs as unknown as Inputs, { ...attributes }, options);
  return stored(FLEX_ATTENTION.evaluate(node)) as { Y: FloatTensor };
}

function prepare(node: Node): Call {
  const q = floating(node, "Q");
  const k = floating(node, "K");
  const v = floating(node, "V");
  checkDType("K", k, q.dtype, "Q");
  checkDType("V", v, q.dtype, "Q");
  checkShape("Q", q, [null, null, null, null], "[B,H,N,D]");
  checkWidth("Q", q);
  const [B, H, , D] = q.shape;
  checkShape("K", k, [B, null, null, D], "[B,G,M,D]");
  const [, G, M] = k.shape;
  checkShape("V", v, [B, G, M, null], "[B,G,M,E]");
  if (G === 0 ? H !== 0 : H % G !== 0) {
    throw new RangeError(`K: expected key/value heads G that divide H=${H}, got G=${G}`);
  }
  const scale = number(node, "scale", 1 / Math.sqrt(D));
  if (scale < 0) throw new RangeError(`scale: expected a number ≥ 0, of which √ is taken, got ${scale}`);
  // Q and K are each multiplied by √scale, which the operator takes in float32 whatever the inputs are.
  const root = Math.fround(Math.sqrt(Math.fround(scale)));
  const options: AttentionOptions = { scale: root * root, semantics: { align: "top-left", emptyRow: "nan" } };
  const graph = (name: string) => {
    const json = node.attributes[name];
    return json === undefined ? null : parseGraph(name, json);
  };
  return {
    ...{ q, k, v, options },
    problem: createProblem(q, k, v, options),
    dtype: q.dtype,
    precision: softmaxPrecision(node) ?? (q.dtype === "float64" ? "float64" : "float32"),
    scoreMod: graph("score_mod"),
    probMod: graph("prob_mod"),
  };
}

function output({ problem, precision, scoreMod, probMod }: Call, evaluation: Evaluation): Range {
  const { cast } = evaluation;
  let x = mapRange(scoreSteps(problem, evaluation.scores, "raw"), cast.down, cast.up);
  if (scoreMod) x = runGraph("score_mod", scoreMod, { dtype: precision, ...x }, evaluation.nodes);
  let P = softmaxSteps(problem, x, evaluation);
  emptyRowsToNaN(x, P, problem.M);
  if (probMod) P = runGraph("prob_mod", probMod, { dtype: precision, ...P }, evaluation.nodes);
  return outputSteps(problem, P, evaluation);
}

/** exp(−∞ − (−∞)): a softmax without any mask has nothing to fall back on. */
function emptyRowsToNaN({ hi }: Range, P: Range, M: number): void {
  for (let row = 0; row < hi.length; row += M) {
    if (M === 0 || hi.subarray(row, row + M).some((x) => x !== -Infinity)) continue;
    P.lo.fill(NaN, row, row + M);
    P.hi.fill(NaN, row, row + M);
  }
}
