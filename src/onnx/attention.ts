/**
 * ONNX Attention, opsets 23 to 25:
 *
 *   x = softcap((√s·Q)(√s·K)ᵀ) + bias, −∞ where the mask, causality, the window or the lengths say no
 *   Y = softmax(x)·V,  0 for a query without a key
 *
 * Source: onnx/defs/nn/defs.cc, Attention-23, -24, -25: the operator's text and its function body. Where ONNX's Python
 * reference says something else, the function body stands: qk_matmul_output_mode 0 gives the scores before softcap.
 *
 * Q [B,H,N,D] or [B,N,H·D], K and V [B,G,M,·] or [B,M,G·(·)]; past_* and present_* always [B,G,·,·]. Query i sits at
 * key i + offset with offset = past length, or nonpad_kv_seqlen[b] − N, or 0: top-left where nothing is cached.
 */
import { type FloatTensor, type TensorInput, toFloat64, type View, view } from "../tensor.ts";
import { type Call, prepare } from "./call.ts";
import { BY_KERNELS, type Evaluation, exactly, losesDigits, others, to } from "./evaluations.ts";
import {
  createNode,
  type Inputs,
  type Node,
  type NodeOptions,
  type Operator,
  type Range,
  type Result,
  stored,
} from "./node.ts";
import { mapRange, outputSteps, scoreSteps, softmaxSteps, type Stage, toBnhd } from "./steps.ts";

/** Inputs of Attention; what is optional there is here. */
export interface AttentionInputs {
  /** Queries, [B,H,N,D] or [B,N,H·D]. */
  readonly Q: TensorInput;
  /** Keys, [B,G,M,D] or [B,M,G·D]: G divides H, and query head h reads key/value head ⌊h·G/H⌋. */
  readonly K: TensorInput;
  /** Values, [B,G,M,E] or [B,M,G·E]. */
  readonly V: TensorInput;
  /** Broadcast to [B,H,N,total]: boolean, true may attend; floating, added. A short last axis is filled with "no". */
  readonly attn_mask?: TensorInput | undefined;
  /** [B,G,past,D] and [B,G,past,E], in front of K and V. */
  readonly past_key?: TensorInput | undefined;
  readonly past_value?: TensorInput | undefined;
  /** [B], opset 24: keys of each batch that are there. */
  readonly nonpad_kv_seqlen?: TensorInput | undefined;
}

/** Attributes of Attention, as the specification spells them. */
export interface AttentionAttributes {
  /** Key j is visible to query i iff j ≤ i + offset. */
  readonly is_causal?: number | boolean;
  /** 1/√D unless told. */
  readonly scale?: number;
  /** 0 is off. */
  readonly softcap?: number;
  /** H and G of three-dimensional inputs. */
  readonly q_num_heads?: number;
  readonly kv_num_heads?: number;
  /** What qk_matmul_output holds: 0 scores, 1 after softcap, 2 after the bias, 3 probabilities. */
  readonly qk_matmul_output_mode?: number;
  /** 1 float32, 10 float16, 11 float64, 16 bfloat16. */
  readonly softmax_precision?: number;
  /** Keys to the left and right of i + offset that are visible, opset 25; −1 all. */
  readonly left_window_size?: number;
  readonly right_window_size?: number;
}

/** Outputs of Attention. */
export interface AttentionOutputs {
  /** Like Q, with the width of V: [B,H,N,E] or [B,N,H·E]. */
  readonly Y: FloatTensor;
  /** [B,G,past + M,D] and [B,G,past + M,E]. */
  readonly present_key?: FloatTensor;
  readonly present_value?: FloatTensor;
  /** [B,H,N,past + M]. */
  readonly qk_matmul_output?: FloatTensor;
}

export const ATTENTION: Operator = {
  name: "Attention",
  domain: "",
  since: 23,
  newest: 25,
  inputs: ["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"],
  required: 3,
  outputs: ["Y", "present_key", "present_value", "qk_matmul_output"],
  attributes: {
    is_causal: "int",
    scale: "float",
    softcap: "float",
    q_num_heads: "int",
    kv_num_heads: "int",
    qk_matmul_output_mode: "int",
    softmax_precision: "int",
    left_window_size: "int",
    right_window_size: "int",
  },
  evaluate(node) {
    const call = prepare(node);
    const results: Record<string, Result> = { Y: main(node, call) };
    if (wants(node, "present_key")) results["present_key"] = copied(call.present.key);
    if (wants(node, "present_value")) results["present_value"] = copied(call.present.value);
    if (wants(node, "qk_matmul_output")) {
      results["qk_matmul_output"] = middle(node, call);
    }
    return results;
  },
  enclose(node) {
    const call = prepare(node);
    return others(call.precision, call.dtype, "dtype").map((evaluation) => {
      const { down, up } = to(call.dtype);
      const ranges: Record<string, Range> = { Y: mapRange(output(call, evaluation), down, up) };
      if (wants(node, "qk_matmul_output")) {
        ranges["qk_matmul_output"] = mapRange(debug(call, evaluation), down, up);
      }
      return ranges;
    });
  },
};

/**
 * ONNX's Attention operator, opsets 23, 24 and 25.
 *
 * @param inputs Tensors by their ONNX names.
 * @param attributes Attributes by their ONNX names.
 * @param options `implementation` computes Y, the float64 oracle unless told; `opset`, 25 unless told; `outputs`: which
 *   to return, Y and the present cache unless told (`qk_matmul_output` also if its mode is given).
 * @returns The outputs in the dtype of Q, present_value in that of V.
 * @throws {TypeError} A wrong kind of thing; the message starts with its name.
 * @throws {RangeError} A wrong value or shape.
 *
 * @example
 * ```ts
 * import { attention } from "flashtile/onnx";
 * const x = { data: new Float32Array([1, 2, 3, 4]), shape: [1, 1, 4, 1] };
 * const { Y } = attention({ Q: x, K: x, V: x }, { left_window_size: 0, right_window_size: 0 });
 * console.log(Array.from(Y.data)); // [ 1, 2, 3, 4 ]
 * ```
 */
export function attention(
  inputs: AttentionInputs,
  attributes: AttentionAttributes = {},
  options: NodeOptions = {},
): AttentionOutputs {
  const node = createNode(ATTENTION, inputs as unknown as Inputs, { ...attributes }, options);
  return stored(ATTENTION.evaluate(node)) as unknown as AttentionOutputs;
}

function wants(node: Node, name: string): boolean {
  if (node.outputs) return node.outputs.has(name);
  return name === "qk_matmul_output"
    ? node.attributes["qk_matmul_output_mode"] !== undefined
    : name === "Y" || !node.inputs.has("nonpad_kv_seqlen");
}

/** Y: the implementation's, or step by step where softmax_precision must be seen in it. */
function main(node: Node, call: Call): Result {
  const { q, k, v, options, problem, precision, dtype, shape } = call;
  if (losesDigits(precision, dtype)) {
    const plain = { shape, dtype, problem: null };
    return { values: output(call, exactly(precision, dtype, "dtype")).lo, ...plain, by: "operator" };
  }
  const { out } = node.implementation.attention(q, k, v, options);
  return { values: toFloat64(view("out", out)), shape, dtype, problem, by: "implementation" };
}

/** qk_matmul_output: likewise. */
function middle(node: Node, call: Call): Result {
  const { q, k, options, problem, dtype, precision, mode } = call;
  const { scores } = node.implementation;
  if (!scores || dtype === "float64" || (mode === 3 && losesDigits(precision, dtype))) {
    const { lo, shape } = debug(call, exactly(precision, dtype, "dtype"));
    return { values: lo, shape, dtype, problem: null, by: "operator" };
  }
  const made = scores(q, k, { ...options, stage: mode === 3 ? "weights" : STAGES[mode] });
  const result = {
    values: toFloat64(view("scores", made)),
    ...{ shape: made.shape, dtype, by: "implementation" as const },
  };
  if (mode === 3) return { ...result, problem, of: "probabilities" };
  return { ...result, problem: null, own: () => debug(call, BY_KERNELS) };
}

function output({ problem }: Call, evaluation: Evaluation): Range {
  const x = scoreSteps(problem, evaluation.scores, "biased");
  const O = outputSteps(problem, softmaxSteps(problem, x, evaluation), evaluation);
  return problem.layout === "bnhd" ? toBnhd(O) : O;
}

const STAGES: readonly Stage[] = ["raw", "capped", "biased", "biased"];

function debug({ problem, mode }: Call, evaluation: Evaluation): Range {
  const x = scoreSteps(problem, evaluation.scores, STAGES[mode]);
  return mode === 3 ? softmaxSteps(problem, x, evaluation) : x;
}

function copied({ shape, dtype, ...rest }: View): Result {
  return { values: toFloat64({ shape, dtype, ...rest }), shape, dtype, problem: null, by: "inputs" };
}
