/**
 * Attention a second time, from the words of the documentation and with nothing of src: every entry of S by itself,
 * whether a key may be seen as a predicate of (b, h, i, j), Math.exp. And how far an implementation may lie from it.
 *
 * Bound of a row, u the implementation's roundoff, first order in u:
 *   δ  = u·max_j [ (D + 3)·scale·Σ|q||k| + (5 + tanh)·|each term of x| + 2|x_j| ]     what x_j − m may be off by
 *   |ΔO|   ≤ Σ_j p_j|v_j|·(2δ + (2·exp + 2M + 8)·u) + M·least·max|v|
 *   |Δlse| ≤ δ + (M + exp + 5)·u + 3u·|lse|
 * (D products and sums; a factor and a bias; exp of both numerator and denominator; M terms in l and in O; the
 * division, the sink and the rounding of the result; weights below `least` may be dropped.) The formula itself has
 * u = 2^−53, exp = 2, tanh = 2, which is added.
 */
import type { AttentionOptions, TensorInput } from "../../src/reference/index.ts";

/** Relative errors in units of u; `least`: results of exp below it may be 0. */
export interface Accuracy {
  readonly u: number;
  readonly exp: number;
  readonly tanh: number;
  readonly least: number;
}

const OWN: Accuracy = { u: 2 ** -53, exp: 2, tanh: 2, least: 2 ** -1022 };

export interface Expected {
  /** [B,H,N,E], [B,H,N], [B,H,N,M]. */
  readonly out: Float64Array;
  readonly lse: Float64Array;
  readonly probabilities: Float64Array;
  /** How far `accuracy` may be off. */
  readonly outBound: Float64Array;
  readonly lseBound: Float64Array;
}

/** Element [x0, x1, …] of a contiguous tensor that stretches to a larger shape. */
export function at(tensor: TensorInput, ...index: number[]): number {
  const shape = Array.from(tensor.shape!);
  let flat = 0;
  shape.forEach((n, axis) => {
    const x = index[index.length - shape.length + axis];
    flat = flat * n + (n === 1 ? 0 : x);
  });
  return Number((tensor.data as Float64Array)[flat]);
}

/** A number for all heads, or one for each. */
function perHead<T>(value: T | readonly T[], h: number, isList: (x: unknown) => boolean): T {
  return isList(value) ? (value as readonly T[])[h] : value as T;
}

function number(values: AttentionOptions["sink"], x: number): number {
  return Number(("data" in values! ? values.data as Float64Array : values as ArrayLike<number>)[x]);
}

/** Contiguous "bhnd" tensors without 16-bit floats; options without semantics, dropout, layout. */
export function formula(
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  options: AttentionOptions = {},
  accuracy: Accuracy = OWN,
): Expected {
  const [B, H, N, D] = Array.from(q.shape!);
  const [, G, M, E] = Array.from(v.shape!);
  const scale = options.scale ?? 1 / Math.sqrt(D);
  const softcap = options.softcap ?? 0;
  const out = new Float64Array(B * H * N * E);
  const lse = new Float64Array(B * H * N).fill(-Infinity);
  const probabilities = new Float64Array(B * H * N * M);
  const outBound = new Float64Array(out.length);
  const lseBound = new Float64Array(lse.length);

  for (let row = 0; row < B * H * N; row++) {
    const i = row % N;
    const h = Math.floor(row / N) % H;
    const b = Math.floor(row / N / H);
    const g = Math.floor(h * G / H);
    const p = i + offset(options, b, N, M);
    const x: number[] = [];
    const spread: number[] = [];
    for (let j = 0; j < M; j++) {
      const bias = options.bias ? at(options.bias, b, h, i, j) : 0;
      if (!allowed(options, b, h, i, j, p, M) || bias === -Infinity) {
        x.push(-Infinity);
        spread.push(0);
        continue;
      }
      let dot = 0;
      let size = 0;
      for (let d = 0; d < D; d++) {
        const product = at(q, b, h, i, d) * at(k, b, g, j, d);
        dot += product;
        size += Math.abs(product);
      }
      const s = scale * dot;
      const capped = softcap > 0 ? softcap * Math.tanh(s / softcap) : s;
      const slopes = options.alibiSlopes;
      const slope = slopes ? number(slopes, lengthOf(slopes) === H ? h : b * H + h) : 0;
      const alibi = -slope * Math.abs(p - j);
      x.push(capped + alibi + bias);
      const terms = Math.abs(capped) + Math.abs(alibi) + Math.abs(bias);
      spread.push((D + 3) * Math.abs(scale) * size + 2 * Math.abs(x[j]) + 5 * terms);
      spread[j] += softcap > 0 ? accuracy.tanh * Math.abs(capped) : 0;
    }
    const sink = options.sink ? number(options.sink, h) : -Infinity;
    const m = Math.max(sink, ...x);
    if (m === -Infinity) continue;
    const weights = x.map((value) => value === -Infinity ? 0 : Math.exp(value - m));
    const l = weights.reduce((sum, w) => sum + w, Math.exp(sink - m));
    lse[row] = m + Math.log(l);
    const delta = Math.max(0, ...spread.map((s) => s + 2 * Math.abs(m)));
    const u = accuracy.u + OWN.u;
    const weightError = u * (2 * delta + 2 * Math.max(accuracy.exp, OWN.exp) + 2 * M + 8);
    lseBound[row] = u * (delta + M + Math.max(accuracy.exp, OWN.exp) + 5 + 3 * Math.abs(lse[row]));
    for (let j = 0; j < M; j++) probabilities[row * M + j] = weights[j] / l;
    for (let e = 0; e < E; e++) {
      let sum = 0;
      let size = 0;
      let most = 0;
      for (let j = 0; j < M; j++) {
        if (x[j] === -Infinity) continue;
        const value = at(v, b, g, j, e);
        sum += probabilities[row * M + j] * value;
        size += probabilities[row * M + j] * Math.abs(value);
        most = Math.max(most, Math.abs(value));
      }
      out[row * E + e] = sum;
      outBound[row * E + e] = weightError * size + M * accuracy.least * most;
    }
  }
  return { out, lse, probabilities, outBound, lseBound };
}

function lengthOf(values: NonNullable<AttentionOptions["alibiSlopes"]>): number {
  return "data" in values ? (values.data as Float64Array).length : values.length;
}

/** How far right of i the diagonal is. */
function offset({ align = "bottom-right", keyLengths }: AttentionOptions, b: number, N: number, M: number) {
  if (align === "top-left") return 0;
  if (align === "bottom-right") return (keyLengths ? number(keyLengths, b) : M) - N;
  return typeof align.offset === "number" ? align.offset : Number(align.offset[b]);
}

function allowed(o: AttentionOptions, b: number, h: number, i: number, j: number, p: number, M: number) {
  if (j >= (o.keyLengths ? number(o.keyLengths, b) : M)) return false;
  if (o.causal && j > p) return false;
  if (o.mask && !("data" in o.mask ? at(o.mask, b, h, i, j) : o.mask.sees(b, h, i, j))) return false;
  const [left, right] = perHead(o.window ?? [null, null], h, (w) => Array.isArray((w as unknown[])[0]));
  const closed = (side: number | null) => side !== null && side !== -1 && side !== Infinity;
  if (closed(right) && j > p + right!) return false;
  const chunk = o.chunk ?? 0;
  const chunkOf = (key: number) => chunk > 0 ? Math.floor(key / chunk) : 0;
  if (chunkOf(j) > chunkOf(p)) return false;
  // The first tokens are exempt from the limits on the left.
  const exempt = j < perHead<number>(o.sinkTokens ?? 0, h, Array.isArray);
  return exempt || !((closed(left) && j < p - left!) || chunkOf(j) < chunkOf(p));
}
