/**
 * The inputs and attributes of an ONNX Attention node → one call of attention: heads split, the past in front, masks,
 * windows and lengths as options.
 */
import type { DType } from "../dtype.ts";
import type { AttentionOptions } from "../options.ts";
import { createProblem, type Problem } from "../problem.ts";
import { integers, permute, type TensorInput, toFloat64, type View } from "../tensor.ts";
import { concatenate, splitHeads } from "./heads.ts";
import { mask } from "./mask.ts";
import {
  checkDType,
  checkShape,
  checkWidth,
  flag,
  floating,
  input,
  type Node,
  number,
  softmaxPrecision,
} from "./node.ts";

/** A node taken apart: what `implementation` is called with, and what the other outputs need. */
export interface Call {
  readonly q: TensorInput;
  readonly k: TensorInput;
  readonly v: TensorInput;
  readonly options: AttentionOptions;
  readonly problem: Problem;
  readonly present: { readonly key: View; readonly value: View };
  /** Dtype of the outputs. */
  readonly dtype: DType;
  readonly precision: DType | null;
  /** Shape of Y. */
  readonly shape: number[];
  readonly mode: number;
}

/** @throws TypeError or RangeError that starts with the name of the input or attribute. */
export function prepare(node: Node): Call {
  const { opset } = node;
  for (const name of ["left_window_size", "right_window_size"]) {
    if (opset < 25 && node.attributes[name] !== undefined) {
      throw new RangeError(`${name}: expected opset 25 or newer, got ${opset}`);
    }
  }
  const { q, k, v, flat } = inputs4d(node);
  const [B, H, N, D] = q.shape;
  const past = pastOf(node, k, v);
  const key = past ? concatenate(past.key, k) : k;
  const value = past ? concatenate(past.value, v) : v;
  const M = key.shape[2];
  const lengths = keyLengths(node, B, M, past !== null);
  const mode = number(node, "qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3) throw new RangeError(`qk_matmul_output_mode: expected 0, 1, 2 or 3, got ${mode}`);
  const scale = number(node, "scale", 1 / Math.sqrt(D));
  if (scale < 0) throw new RangeError(`scale: expected a number ≥ 0, of which √ is taken, got ${scale}`);

  const offset = lengths ? lengths.map((n) => n - N) : past ? past.key.shape[2] : 0;
  const layout = flat ? "bnhd" : "bhnd";
  const place = (source: View) => flat ? permute(source, [0, 2, 1, 3]) : source;
  const call = { q: place(q), k: place(key), v: place(value) };
  const options: AttentionOptions = {
    layout,
    semantics: opset >= 25 ? "onnx25" : opset === 24 ? "onnx24" : "onnx23",
    scale,
    // tanh is odd, so a negative cap is its absolute value.
    softcap: Math.abs(number(node, "softcap", 0)),
    causal: flag(node, "is_causal"),
    align: { offset },
    window: [windowSide(node, "left_window_size"), windowSide(node, "right_window_size")],
    ...(lengths && { keyLengths: lengths }),
    ...mask(node, [B, H, N, M], lengths),
  };
  return {
    ...call,
    options,
    problem: createProblem(call.q, call.k, call.v, options),
    present: { key, value },
    dtype: q.dtype,
    precision: softmaxPrecision(node),
    shape: flat ? [B, N, H * v.shape[3]] : [B, H, N, v.shape[3]],
    mode,
  };
}

/** Q, K and V with axes [b, h, i, d], whatever their rank. */
function inputs4d(node: Node): { q: View; k: View; v: View; flat: boolean } {
  const Q = floating(node, "Q");
  const K = floating(node, "K");
  const V = floating(node, "V");
  const rank = Q.shape.length;
  if (rank !== 3 && rank !== 4) {
    throw new RangeError(`Q: expected [B,H,N,D] or [B,N,H·D], got [${Q.shape}]`);
  }
  for (const [name, source] of [["K", K], ["V", V]] as const) {
    if (source.shape.length !== rank) {
      throw new RangeError(`${name}: expected ${rank} axes like Q, got [${source.shape}]`);
    }
  }
  checkDType("K", K, Q.dtype, "Q");
  const flat = rank === 3;
  const [H, G] = headCounts(node, flat, Q, K);
  const q = flat ? splitHeads("Q", Q, H) : Q;
  const k = flat ? splitHeads("K", K, G) : K;
  const v = flat ? splitHeads("V", V, G) : V;
  checkWidth("Q", q);
  const [B, , , D] = q.shape;
  const letters = flat ? ["[B,M,G·D]", "[B,M,G·E]"] : ["[B,G,M,D]", "[B,G,M,E]"];
  const last = (width: number | null) => flat ? width === null ? null : G * width : width;
  checkShape("K", K, flat ? [B, null, last(D)] : [B, G, null, D], letters[0]);
  const M = k.shape[2];
  checkShape("V", V, flat ? [B, M, null] : [B, G, M, null], letters[1]);
  if (G === 0 ? H !== 0 : H % G !== 0) {
    throw new RangeError(`K: expected key/value heads G that divide H=${H}, got G=${G}`);
  }
  return { q, k, v, flat };
}

function headCounts(node: Node, flat: boolean, Q: View, K: View): [H: number, G: number] {
  const counts = ["q_num_heads", "kv_num_heads"].map((name, x) => {
    const heads = number(node, name, null);
    if (flat) {
      if (heads === null) {
        throw new RangeError(`${name}: expected a count for three-dimensional inputs, got none`);
      }
      if (heads < 1) throw new RangeError(`${name}: expected a count ≥ 1, got ${heads}`);
      return heads;
    }
    const found = [Q, K][x].shape[1];
    if (heads === null) return found;
    if (node.opset >= 25) {
      throw new RangeError(
        `${name}: expected none for four-dimensional inputs from opset 25 on, got ${heads}`,
      );
    }
    if (heads !== found) throw new RangeError(`${name}: expected ${found} like the input's, got ${heads}`);
    return heads;
  });
  return [counts[0], counts[1]];
}

function pastOf(node: Node, k: View, v: View): { key: View; value: View } | null {
  const has = ["past_key", "past_value"].map((name) => node.inputs.has(name));
  if (!has[0] && !has[1]) return null;
  if (!has[0] || !has[1]) {
    throw new TypeError(
      `${has[0] ? "past_value" : "past_key"}: expected a tensor with the other half, got none`,
    );
  }
  const key = input(node, "past_key");
  const value = input(node, "past_value");
  const [B, G, , D] = k.shape;
  checkDType("past_key", key, k.dtype, "K");
  checkDType("past_value", value, v.dtype, "V");
  checkShape("past_key", key, [B, G, null, D], "[B,G,past,D]");
  checkShape("past_value", value, [B, G, key.shape[2], v.shape[3]], "[B,G,past,E]");
  return { key, value };
}

function keyLengths(node: Node, B: number, M: number, past: boolean): Int32Array | null {
  const source = node.inputs.get("nonpad_kv_seqlen");
  if (!source) return null;
  if (node.opset < 24) {
    throw new RangeError(`nonpad_kv_seqlen: expected opset 24 or newer, got ${node.opset}`);
  }
  if (past) throw new TypeError("nonpad_kv_seqlen: expected none with past_key and past_value, got one");
  if (node.opset >= 25 && (node.outputs?.has("present_key") || node.outputs?.has("present_value"))) {
    throw new TypeError("nonpad_kv_seqlen: expected none with present_key and present_value, got one");
  }
  return lengthsOf("nonpad_kv_seqlen", source, B, M);
}

/** A vector [B] of lengths from 0 to M. */
function lengthsOf(name: string, source: View, B: number, M: number): Int32Array {
  if (source.dtype !== "int64" && source.dtype !== "int32") {
    throw new TypeError(`${name}: expected int64, got ${source.dtype}`);
  }
  checkShape(name, source, [B], "[B]");
  return Int32Array.from(integers(name, toFloat64(source)), (n, b) => {
    if (n < 0 || n > M) throw new RangeError(`${name}[${b}]: expected an integer from 0 to ${M}, got ${n}`);
    return n;
  });
}

function windowSide(node: Node, name: string): number | null {
  const size = number(node, name, -1);
  if (size < -1) throw new RangeError(`${name}: expected −1 or a size ≥ 0, got ${size}`);
  return size === -1 ? null : size;
}
