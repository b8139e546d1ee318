/**
 * onnxruntime's GroupQueryAttention (com.microsoft, opset 1), as its CPU kernel computes it:
 *
 *   x = softcap(s·QKᵀ) + attention_bias, −∞ where not allowed     P = e^x / (Σe^x + e^sink)     output = P·V
 *
 * Source: onnxruntime, core/graph/contrib_ops/bert_defs.cc (signature), contrib_ops/cpu/bert/gqa_attention_base.h.
 * The caches are [B,G,length,D]. seqlens_k[b] + 1 keys of batch b are there when the new ones are in; the past is
 * what remains of them without the S new ones, or nothing in a first prompt (S = total_sequence_length). Query i sits
 * at key past[b] + i. local_window_size counts the query's own key (since onnxruntime 1.23). smooth_softmax is a sink
 * of 0, +1 in the denominator; head_sink is one logit a head.
 */
import { type FloatTensor, type TensorInput, toFloat64, view } from "../tensor.ts";
import { attentionOptions, headsOf, lengthsOf, pastOf, rotated } from "./groupParts.ts";
import { cache, rowsFirst, slice } from "./heads.ts";
import { createNode, type Inputs, type NodeOptions, type Signature, stored } from "./node.ts";

/** Inputs of GroupQueryAttention. */
export interface GroupQueryAttentionInputs {
  /** [B,S,H·D], or [B,S,(H + 2G)·D] with keys and values packed behind the queries. */
  readonly query: TensorInput;
  /** [B,S,G·D] both, or neither. */
  readonly key?: TensorInput | undefined;
  readonly value?: TensorInput | undefined;
  /** [B,G,length,D]. */
  readonly past_key?: TensorInput | undefined;
  readonly past_value?: TensorInput | undefined;
  /** [B], int32: keys of each batch, the new ones included, less one. */
  readonly seqlens_k: TensorInput;
  /** One int32: the largest number of keys, the new ones included. */
  readonly total_sequence_length: TensorInput;
  /** [positions, R/2] with do_rotary. */
  readonly cos_cache?: TensorInput | undefined;
  readonly sin_cache?: TensorInput | undefined;
  /** [B,S], int64; where the keys lie unless told. */
  readonly position_ids?: TensorInput | undefined;
  /** [B or 1, H or 1, S, total]. */
  readonly attention_bias?: TensorInput | undefined;
  /** [H]. */
  readonly head_sink?: TensorInput | undefined;
}

/** Attributes of com.microsoft GroupQueryAttention, as its documentation spells them. */
export interface GroupQueryAttentionAttributes {
  /** H and G. */
  readonly num_heads: number;
  readonly kv_num_heads: number;
  /** 1 unless told. */
  readonly causal?: number | boolean;
  /** 1/√D unless told; 0 counts as not told. */
  readonly scale?: number;
  readonly softcap?: number;
  /** Keys that a query sees, its own included; −1 all. */
  readonly local_window_size?: number;
  readonly do_rotary?: number | boolean;
  readonly rotary_interleaved?: number | boolean;
  /** 1: +1 in the denominator of the softmax. */
  readonly smooth_softmax?: number;
}

/** Outputs of GroupQueryAttention. */
export interface GroupQueryAttentionOutputs {
  /** [B,S,H·D]. */
  readonly output: FloatTensor;
  /** [B,G,max(past length, total),D], past and new, zeros behind. */
  readonly present_key: FloatTensor;
  readonly present_value: FloatTensor;
}

const SIGNATURE: Signature = {
  name: "GroupQueryAttention",
  domain: "com.microsoft",
  since: 1,
  newest: 1,
  inputs: [
    ...["query", "key", "value", "past_key", "past_value", "seqlens_k", "total_sequence_length"],
    ...["cos_cache", "sin_cache", "position_ids", "attention_bias", "head_sink"],
  ],
  required: 1,
  outputs: ["output", "present_key", "present_value"],
  attributes: {
    num_heads: "int",
    kv_num_heads: "int",
    causal: "int",
    scale: "float",
    softcap: "float",
    local_window_size: "int",
    do_rotary: "int",
    rotary_interleaved: "int",
    smooth_softmax: "int",
  },
};

/**
 * onnxruntime's GroupQueryAttention operator.
 *
 * @param inputs Tensors by their names in onnxruntime.
 * @param attributes Attributes by their names in onnxruntime.
 * @param options `implementation` computes the output, the float64 oracle unless told.
 * @returns The output and the caches, in the dtype of query.
 * @throws {TypeError} A wrong kind of thing; the message starts with its name.
 * @throws {RangeError} A wrong value or shape.
 *
 * @example
 * ```ts
 * import { groupQueryAttention } from "flashtile/onnx";
 * const x = { data: new Float32Array([1, 2]), shape: [1, 2, 1] };
 * const seqlens_k = { data: new Int32Array([1]), shape: [1] };
 * const total_sequence_length = { data: new Int32Array([2]), shape: [] };
 * const { output, present_key } = groupQueryAttention(
 *   { query: x, key: x, value: x, seqlens_k, total_sequence_length },
 *   { num_heads: 1, kv_num_heads: 1, local_window_size: 1 },
 * );
 * console.log(Array.from(output.data), present_key.shape); // [ 1, 2 ] [ 1, 1, 2, 1 ]
 * ```
 */
export function groupQueryAttention(
  inputs: GroupQueryAttentionInputs,
  attributes: GroupQueryAttentionAttributes,
  options: NodeOptions = {},
): GroupQueryAttentionOutputs {
  const node = createNode(SIGNATURE, inputs as unknown as Inputs, { ...attributes }, options);
  const split = headsOf(node);
  const [B, H, S, D] = split.q.shape;
  const lengths = lengthsOf(node, B, S);
  const { q, k, v } = rotated(node, split, lengths);
  const [pastKey, pastValue] = pastOf(node, k, lengths);
  const length = Math.max(lengths.total, pastKey?.shape[2] ?? 0);
  const present = [cache(pastKey, k, length, lengths.past), cache(pastValue, v, length, lengths.past)];
  const [keys, values] = present.map((all) => slice(all, 2, 0, lengths.total));
  const { out } = node.implementation.attention(
    q,
    keys,
    values,
    attentionOptions(node, [B, H, S, D], lengths),
  );
  const turned = rowsFirst(toFloat64(view("out", out)), [B, H, S, D]);
  const { dtype } = q;
  const results = {
    output: { values: turned, shape: [B, S, H * D], dtype, problem: null, by: "implementation" as const },
    present_key: {
      values: toFloat64(present[0]),
      shape: present[0].shape,
      dtype,
      problem: null,
      by: "inputs" as const,
    },
    present_value: {
      values: toFloat64(present[1]),
      shape: present[1].shape,
      dtype,
      problem: null,
      by: "inputs" as const,
    },
  };
  return stored(results) as unknown as GroupQueryAttentionOutputs;
}
