/**
 * onnxruntime's MultiHeadAttention (com.microsoft, opset 1), as its CPU kernel computes it:
 *
 *   x = s·(Q + b_q)(K + b_k)ᵀ + attention_bias + f·[padding], −∞ where j > past + i     output = softmax(x)·(V + b_v)
 *
 * Source: onnxruntime, core/graph/contrib_ops/bert_defs.cc (signature), contrib_ops/cpu/bert/attention_helper.h. The
 * padding mask adds the finite mask_filter_value f, −10000 unless told: a masked key still has a weight, e^f, and a row
 * whose keys are all masked is what it would be without a mask. `unidirectional` leaves the last query as it is, and
 * so a single one: in self-attention it sees every key anyway.
 */
import type { AttentionOptions } from "../options.ts";
import {
  type FloatTensor,
  integers,
  permute,
  type TensorInput,
  toFloat64,
  type View,
  view,
} from "../tensor.ts";
import { at, concatenate, dense, splitHeads } from "./heads.ts";
import {
  checkDType,
  checkShape,
  checkWidth,
  createNode,
  flag,
  floating,
  input,
  type Inputs,
  type Node,
  type NodeOptions,
  number,
  pair,
  type Signature,
  stored,
} from "./node.ts";

/** Inputs of MultiHeadAttention. */
export interface MultiHeadAttentionInputs {
  /** [B,S,H·D], or [B,S,H,3,D]: queries, keys and values packed. */
  readonly query: TensorInput;
  /** [B,L,H·D]; [B,L,H,2,D]: keys and values packed; or [B,H,L,D]: a cache, with a value of the same form. */
  readonly key?: TensorInput | undefined;
  /** [B,L,H·E], or [B,H,L,E]. */
  readonly value?: TensorInput | undefined;
  /** [H·D + H·D + H·E], added to queries, keys and values. */
  readonly bias?: TensorInput | undefined;
  /** int32: [B] key lengths, [3B + 2] key lengths first, or [B,T], [B,S,T] with 0 at keys to mask; T = past + L. */
  readonly key_padding_mask?: TensorInput | undefined;
  /** [B or 1, H or 1, S, T]. */
  readonly attention_bias?: TensorInput | undefined;
  /** [B,H,past,D] and [B,H,past,E]. */
  readonly past_key?: TensorInput | undefined;
  readonly past_value?: TensorInput | undefined;
}

/** Attributes of com.microsoft MultiHeadAttention, as its documentation spells them. */
export interface MultiHeadAttentionAttributes {
  /** H. */
  readonly num_heads: number;
  /** What masking adds, −10000 unless told. */
  readonly mask_filter_value?: number;
  /** 1/√D unless told; 0 counts as not told. */
  readonly scale?: number;
  /** 1: causal. */
  readonly unidirectional?: number | boolean;
}

/** Outputs of MultiHeadAttention. */
export interface MultiHeadAttentionOutputs {
  /** [B,S,H·E]. */
  readonly output: FloatTensor;
  /** [B,H,T,D] and [B,H,T,E]. */
  readonly present_key: FloatTensor;
  readonly present_value: FloatTensor;
}

const SIGNATURE: Signature = {
  name: "MultiHeadAttention",
  domain: "com.microsoft",
  since: 1,
  newest: 1,
  inputs: [
    ...["query", "key", "value", "bias", "key_padding_mask", "attention_bias", "past_key", "past_value"],
  ],
  required: 1,
  outputs: ["output", "present_key", "present_value"],
  attributes: { num_heads: "int", mask_filter_value: "float", scale: "float", unidirectional: "int" },
};

/** Axes [b, h, i, d]. */
interface Heads {
  readonly q: View;
  readonly k: View;
  readonly v: View;
}

/**
 * onnxruntime's MultiHeadAttention operator.
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
 * import { multiHeadAttention } from "flashtile/onnx";
 * const x = { data: new Float32Array([1, 3]), shape: [1, 2, 1] };
 * const key_padding_mask = { data: new Int32Array([1]), shape: [1] };
 * const { output } = multiHeadAttention({ query: x, key: x, value: x, key_padding_mask }, { num_heads: 1 });
 * console.log(Array.from(output.data)); // [ 1, 1 ]
 * ```
 */
export function multiHeadAttention(
  inputs: MultiHeadAttentionInputs,
  attributes: MultiHeadAttentionAttributes,
  options: NodeOptions = {},
): MultiHeadAttentionOutputs {
  const node = createNode(SIGNATURE, inputs as unknown as Inputs, { ...attributes }, options);
  const { q, k, v } = biased(node, headsOf(node));
  checkWidth("query", q);
  const [key, value] = presentOf(node, k, v);
  const [B, H, S] = q.shape;
  const E = v.shape[3];
  const mask = scoreMask(node, [B, H, S, key.shape[2]], key.shape[2] - k.shape[2]);
  const scale = number(node, "scale", 0);
  const rows = (source: View) => permute(source, [0, 2, 1, 3]);
  const { out } = node.implementation.attention(rows(q), rows(key), rows(value), {
    layout: "bnhd",
    ...(scale !== 0 && { scale }),
    ...mask,
  });
  const { dtype } = q;
  const results = {
    output: {
      values: toFloat64(view("out", out)),
      shape: [B, S, H * E],
      dtype,
      problem: null,
      by: "implementation" as const,
    },
    present_key: { values: toFloat64(key), shape: key.shape, dtype, problem: null, by: "inputs" as const },
    present_value: {
      values: toFloat64(value),
      shape: value.shape,
      dtype,
      problem: null,
      by: "inputs" as const,
    },
  };
  return stored(results) as unknown as MultiHeadAttentionOutputs;
}

function headsOf(node: Node): Heads {
  const query = floating(node, "query");
  const H = number(node, "num_heads", 0);
  if (H < 1) throw new RangeError(`num_heads: expected a count ≥ 1, got ${H}`);
  if (query.shape.length === 5) {
    checkShape("query", query, [null, null, H, 3, null], "[B,S,H,3,D]");
    for (const name of ["key", "value"]) {
      if (node.inputs.has(name)) throw new TypeError(`${name}: expected none with a packed query, got one`);
    }
    const [q, k, v] = [0, 1, 2].map((n) => permute(at(query, 3, n), [0, 2, 1, 3]));
    return { q, k, v };
  }
  checkShape("query", query, [null, null, null], "[B,S,H·D] or [B,S,H,3,D]");
  const q = splitHeads("query", query, H);
  if (!node.inputs.has("key")) {
    throw new TypeError("key: expected a tensor unless query is [B,S,H,3,D], got none");
  }
  const key = floating(node, "key");
  checkDType("key", key, query.dtype, "query");
  const [B, , , D] = q.shape;
  if (key.shape.length === 5) {
    checkShape("key", key, [B, null, H, 2, D], "[B,L,H,2,D]");
    for (const name of ["value", "bias"]) {
      if (node.inputs.has(name)) throw new TypeError(`${name}: expected none with a packed key, got one`);
    }
    const [k, v] = [0, 1].map((n) => permute(at(key, 3, n), [0, 2, 1, 3]));
    return { q, k, v };
  }
  if (!node.inputs.has("value")) throw new TypeError("value: expected a tensor with key, got none");
  const value = floating(node, "value");
  checkDType("value", value, query.dtype, "query");
  if (key.shape.length === 4) {
    checkShape("key", key, [B, H, null, D], "[B,H,L,D]");
    checkShape("value", value, [B, H, key.shape[2], null], "[B,H,L,E]");
    for (const name of ["bias", "past_key", "past_value"]) {
      if (node.inputs.has(name)) {
        throw new TypeError(`${name}: expected none with a key of four axes, got one`);
      }
    }
    return { q, k: key, v: value };
  }
  checkShape("key", key, [B, null, H * D], "[B,L,H·D]");
  checkShape("value", value, [B, key.shape[1], null], "[B,L,H·E]");
  return { q, k: splitHeads("key", key, H), v: splitHeads("value", value, H) };
}

/** The bias of the input projection, added and rounded to the dtype as the cache keeps it. */
function biased(node: Node, heads: Heads): Heads {
  const source = node.inputs.get("bias");
  if (!source) return heads;
  const parts = [heads.q, heads.k, heads.v];
  const widths = parts.map(({ shape }) => shape[1] * shape[3]);
  checkShape("bias", floating(node, "bias"), [widths[0] + widths[1] + widths[2]], "[H·D + H·D + H·E]");
  const values = toFloat64(source);
  let start = 0;
  const [q, k, v] = parts.map((part, n) => {
    const [, H, rows, width] = part.shape;
    const sum = toFloat64(part).map((x, e) =>
      x + values[start + Math.floor(e / (rows * width)) % H * width + e % width]
    );
    start += widths[n];
    return dense(sum, part.shape, part.dtype);
  });
  return { q, k, v };
}

function presentOf(node: Node, k: View, v: View): [View, View] {
  const [key, value] = pair(node, "past_key", "past_value");
  if (!key || !value) return [k, v];
  const [B, H, , D] = k.shape;
  checkDType("past_key", key, k.dtype, "query");
  checkDType("past_value", value, k.dtype, "query");
  checkShape("past_key", key, [B, H, null, D], "[B,H,past,D]");
  checkShape("past_value", value, [B, H, key.shape[2], v.shape[3]], "[B,H,past,E]");
  return [concatenate(key, k), concatenate(value, v)];
}

/** attention_bias, padding and causality as options of attention. */
function scoreMask(
  node: Node,
  scores: readonly [number, number, number, number],
  past: number,
): Pick<AttentionOptions, "bias" | "causal" | "align"> {
  const [B, H, S, T] = scores;
  const given = node.inputs.get("attention_bias");
  if (given) {
    const [batches, heads] = given.shape;
    checkShape("attention_bias", given, [batches === 1 ? 1 : B, heads === 1 ? 1 : H, S, T], "[B,H,S,T]");
  }
  const padding = node.inputs.has("key_padding_mask") ? paddingOf(node, B, S, T) : null;
  const causal = flag(node, "unidirectional") && S > 1;
  // Where the last query sees every key, leaving it as it is changes nothing.
  const plain = causal && past + S >= T;
  const diagonal: Pick<AttentionOptions, "causal" | "align"> = plain
    ? { causal, align: { offset: past } }
    : {};
  if (!padding && causal === plain) return { ...diagonal, ...(given && { bias: given }) };

  const filter = number(node, "mask_filter_value", -10000);
  const heads = given ? given.shape[1] : 1;
  const own = given ? toFloat64(given) : null;
  const batches = own && given!.shape[0] > 1 || padding ? B : 1;
  const sum = new Float64Array(batches * heads * S * T);
  for (let at = 0; at < sum.length; at++) {
    const j = at % T;
    const i = Math.floor(at / T) % S;
    const b = Math.floor(at / (T * S * heads));
    if (own) sum[at] = own[at % own.length];
    if (padding?.(b, i, j)) sum[at] += filter;
    if (causal && !plain && i < S - 1 && j > past + i) sum[at] = -Infinity;
  }
  return { ...diagonal, bias: { data: sum, shape: [batches, heads, S, T] } };
}

/** (b, i, j) → is the key masked? */
function paddingOf(
  node: Node,
  B: number,
  S: number,
  T: number,
): (b: number, i: number, j: number) => boolean {
  const name = "key_padding_mask";
  const source = input(node, name);
  const { shape } = source;
  if (source.dtype !== "int32") throw new TypeError(`${name}: expected int32, got ${source.dtype}`);
  const values = integers(name, toFloat64(source));
  switch (shape.join()) {
    case `${B}`:
    case `${3 * B + 2}`:
      return (b, _, j) => j >= values[b];
    case `${B},${T}`:
      return (b, _, j) => values[b * T + j] <= 0;
    case `${B},${S},${T}`:
      return (b, i, j) => values[(b * S + i) * T + j] <= 0;
  }
  throw new RangeError(
    `${name}: expected [B], [3B+2], [B,T] or [B,S,T] with B=${B}, S=${S}, T=${T}, got [${shape}]`,
  );
}
