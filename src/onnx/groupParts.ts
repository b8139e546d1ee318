/**
 * The parts of a GroupQueryAttention node: heads split from one or three tensors, the lengths of each batch, rotation,
 * the past, and what remains as options of attention. Source: see groupQuery.ts.
 */
import type { AttentionOptions } from "../options.ts";
import { rotary } from "../reference/rotary.ts";
import { integers, toFloat64, type View } from "../tensor.ts";
import { dense, rowsFirst, slice, splitHeads } from "./heads.ts";
import { checkDType, checkShape, flag, floating, input, type Node, number, pair } from "./node.ts";
import { pick, positionsOf } from "./rotary.ts";

/** Q [B,H,S,D], K and V [B,G,S,D]. */
export interface Heads {
  readonly q: View;
  readonly k: View;
  readonly v: View;
}

/** Lengths of each batch. */
export interface Lengths {
  /** Keys with the new ones, and before them. */
  readonly keys: Int32Array;
  readonly past: Int32Array;
  /** The longest. */
  readonly total: number;
}

export function headsOf(node: Node): Heads {
  const query = floating(node, "query");
  checkShape("query", query, [null, null, null], "[B,S,H·D]");
  const H = headCount(node, "num_heads");
  const G = headCount(node, "kv_num_heads");
  if (H % G !== 0) throw new RangeError(`kv_num_heads: expected a divisor of num_heads = ${H}, got ${G}`);
  const [key, value] = pair(node, "key", "value");
  const [B, S, width] = query.shape;
  const count = key ? H : H + 2 * G;
  if (width === 0 || width % count !== 0) {
    throw new RangeError(`query: expected a width that ${count} heads divide, got [${query.shape}]`);
  }
  const D = width / count;
  if (!key || !value) {
    const all = splitHeads("query", query, count);
    return { q: slice(all, 1, 0, H), k: slice(all, 1, H, G), v: slice(all, 1, H + G, G) };
  }
  for (const [name, source] of [["key", key], ["value", value]] as const) {
    checkDType(name, source, query.dtype, "query");
    checkShape(name, source, [B, S, G * D], "[B,S,G·D]");
  }
  return {
    q: splitHeads("query", query, H),
    k: splitHeads("key", key, G),
    v: splitHeads("value", value, G),
  };
}

function headCount(node: Node, name: string): number {
  const count = number(node, name, 0);
  if (count < 1) throw new RangeError(`${name}: expected a count ≥ 1, got ${count}`);
  return count;
}

export function lengthsOf(node: Node, B: number, S: number): Lengths {
  for (const name of ["seqlens_k", "total_sequence_length"]) {
    if (!node.inputs.has(name)) throw new TypeError(`${name}: expected a tensor, got none`);
  }
  const count = input(node, "total_sequence_length");
  const totals = integers("total_sequence_length", toFloat64(count));
  if (totals.length !== 1) {
    throw new RangeError(`total_sequence_length: expected one number, got [${count.shape}]`);
  }
  const [total] = totals;
  if (total < S) throw new RangeError(`total_sequence_length: expected at least S=${S}, got ${total}`);
  const lengths = input(node, "seqlens_k");
  checkShape("seqlens_k", lengths, [B], "[B]");
  // A prompt may be padded at its end: fewer keys than queries, and no past.
  const prompt = S === total || !node.inputs.has("past_key");
  const least = prompt ? 1 : S;
  const keys = Int32Array.from(integers("seqlens_k", toFloat64(lengths)), (n, b) => {
    if (n + 1 < least || n + 1 > total) {
      throw new RangeError(
        `seqlens_k[${b}]: expected an integer from ${least - 1} to ${total - 1}, got ${n}`,
      );
    }
    return n + 1;
  });
  return { keys, past: keys.map((n) => prompt ? 0 : n - S), total };
}

/** Queries and new keys turned to their positions, rounded to their dtype as the cache keeps them. */
export function rotated(node: Node, heads: Heads, { past }: Lengths): Heads {
  if (!flag(node, "do_rotary")) return heads;
  const [cos, sin] = pair(node, "cos_cache", "sin_cache");
  if (!cos || !sin) throw new TypeError("cos_cache: expected a tensor with do_rotary, got none");
  const { q, k, v } = heads;
  const [B, , S, D] = q.shape;
  const half = cos.shape[1];
  checkShape("cos_cache", cos, [null, null], "[positions,R/2]");
  checkShape("sin_cache", sin, cos.shape, "[positions,R/2]");
  if (2 * half > D) {
    throw new RangeError(`cos_cache: expected at most D/2 = ${D / 2} columns, got [${cos.shape}]`);
  }
  const given = node.inputs.get("position_ids");
  const positions = given
    ? positionsOf(given, [B, S], cos.shape[0])
    : Array.from({ length: B * S }, (_, n) => past[Math.floor(n / S)] + n % S);
  const far = positions.findIndex((p) => p >= cos.shape[0]);
  if (far >= 0) {
    throw new RangeError(`cos_cache: expected at least ${positions[far] + 1} positions, got [${cos.shape}]`);
  }
  const interleaved = flag(node, "rotary_interleaved");
  const turn = (source: View): View => {
    const count = source.shape[1];
    const tokens = rowsFirst(toFloat64(source), [B, count, S, D]);
    const turned = rotary(tokens, {
      cos: pick(toFloat64(cos), half, positions),
      sin: pick(toFloat64(sin), half, positions),
      positions: Int32Array.from(positions, (_, n) => n),
      heads: count,
      width: D,
      dims: 2 * half,
      interleaved,
    });
    return splitHeads("query", dense(turned, [B, S, count * D], source.dtype), count);
  };
  return { q: turn(q), k: turn(k), v };
}

export function pastOf(node: Node, k: View, { past, keys, total }: Lengths): [View, View] | [null, null] {
  const [key, value] = pair(node, "past_key", "past_value");
  if (!key || !value) {
    const missing = past.findIndex((n) => n > 0);
    if (missing >= 0 || keys.some((n) => n > k.shape[2])) {
      throw new TypeError(`past_key: expected a tensor for total_sequence_length = ${total}, got none`);
    }
    return [null, null];
  }
  const [B, G, , D] = k.shape;
  const most = past.reduce((a, b) => Math.max(a, b), 0);
  for (const [name, source] of [["past_key", key], ["past_value", value]] as const) {
    checkDType(name, source, k.dtype, "query");
    checkShape(name, source, [B, G, null, D], "[B,G,length,D]");
    if (source.shape[2] < most) {
      throw new RangeError(`${name}: expected at least ${most} keys, got [${source.shape}]`);
    }
  }
  return [key, value];
}

export function attentionOptions(
  node: Node,
  [B, H, S]: readonly number[],
  { keys, past, total }: Lengths,
): AttentionOptions {
  const causal = flag(node, "causal", true);
  const size = number(node, "local_window_size", -1);
  if (size < -1 || size === 0) {
    throw new RangeError(`local_window_size: expected −1 or a size ≥ 1, got ${size}`);
  }
  if (!causal && size > 0) throw new RangeError(`local_window_size: expected −1 without causal, got ${size}`);
  const bias = node.inputs.get("attention_bias");
  if (bias) {
    const [batches, heads] = bias.shape;
    checkShape(
      "attention_bias",
      bias,
      [batches === 1 ? 1 : B, heads === 1 ? 1 : H, S, total],
      "[B,H,S,total]",
    );
  }
  const sink = node.inputs.get("head_sink");
  if (sink) checkShape("head_sink", sink, [H], "[H]");
  const smooth = number(node, "smooth_softmax", -1) === 1;
  // 0 means not given.
  const scale = number(node, "scale", 0);
  return {
    causal,
    align: { offset: past },
    keyLengths: keys,
    softcap: Math.max(0, number(node, "softcap", 0)),
    window: size < 0 ? null : [size - 1, null],
    ...(scale !== 0 && { scale }),
    ...(bias && { bias }),
    ...(sink ? { sink: toFloat64(sink) } : smooth ? { sink: new Float64Array(H) } : {}),
  };
}
