/**
 * The gradients of attention, recomputed from lse: P is never stored.
 *
 * Source: T. Dao, FlashAttention-2 (arXiv 2307.08691), Algorithm 2; its line numbers stand in the code, each with the
 * forward line it differentiates. The tiles are single rows here and rows are the outer loop, which changes the order
 * of sums and nothing else.
 *
 *   dV = PᵀdO   dP = dO Vᵀ   dS = P ∘ (dP − D), D = rowsum(dO ∘ O)   dQ = scale·dS K   dK = scale·dSᵀ Q
 *
 * A gradient that enters through lse adds P·dLse to dS. 2·H·N·M·(3·D + 2·E) flops a batch, scratch of 4·M.
 */
import { type BackwardOptions, type BackwardProblem, createBackwardProblem } from "../gradients.ts";
import type { Problem } from "../problem.ts";
import { type Gradients, placeDk, placeDq, placeDv, placeLse, type Placement, placeOut } from "../result.ts";
import { broadcast, rowMajor, sizeOf, type TensorInput, toFloat64, type View } from "../tensor.ts";
import { addScaled, dot } from "./dot.ts";
import { dropRow } from "./dropout.ts";
import { type Head, heads } from "./heads.ts";
import { exp } from "./math.ts";
import { startOf, tensorOf } from "./outputs.ts";
import { addSink, LOG2E, logSumExp, naturalLse, sinkOf } from "./row.ts";
import { biasSlope, scores } from "./scores.ts";

/**
 * Gradients of attention with respect to q, k, v, and to bias and sink where there are any.
 *
 * @param q Queries as in the forward call, [B,H,N,D] unless `layout` says otherwise; `k` and `v` likewise.
 * @param out The forward's result, and `lse` its row statistics, as reported by the same semantics.
 * @param dOut Gradient of the loss with respect to `out`.
 * @param options The forward's options, and `dLse`, the gradient with respect to `lse`.
 * @returns `dq`, `dk`, `dv` shaped like contiguous q, k, v; `dBias` summed over the axes that the bias was stretched
 *   along; `dSink` [H]. Rows that see no key give nothing. float64 unless `out: dtype` says otherwise.
 * @throws {TypeError} A wrong kind of thing.
 * @throws {RangeError} A wrong value or shape.
 *
 * @example
 * ```ts
 * import { attention, attentionBackward } from "flashtile/reference";
 * const x = { data: new Float64Array([1, 2, 3]), shape: [1, 1, 3, 1] };
 * const { out, lse } = attention(x, x, x, { causal: true, lse: true });
 * const { dv } = attentionBackward(x, x, x, out, lse!, out, { causal: true });
 * console.log(dv.shape); // [ 1, 1, 3, 1 ]
 * ```
 */
export function attentionBackward(
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  out: TensorInput,
  lse: TensorInput,
  dOut: TensorInput,
  options: BackwardOptions = {},
): Gradients {
  return backward(createBackwardProblem(q, k, v, out, lse, dOut, options));
}

/** Gradients of a validated problem. */
export function backward(task: BackwardProblem): Gradients {
  const { problem, biasShape } = task;
  const { D, E, group, want } = problem;
  const at = { q: placeDq(problem), k: placeDk(problem), v: placeDv(problem) };
  const dq = new Float64Array(sizeOf(at.q.shape));
  const dk = new Float64Array(sizeOf(at.k.shape));
  const dv = new Float64Array(sizeOf(at.v.shape));
  const dSink = new Float64Array(problem.H);
  const dBias = biasGradient(problem, biasShape);
  const rows = rowReader(task);

  for (const head of heads(problem)) {
    const { b, h, N, stored } = head;
    const g = Math.floor(h / group);
    const { dQ, dK, dV } = headGradients(head, rows, dBias, dSink);
    addRows(dQ, D, N, dq, at.q, b, h);
    // Query heads that share a key/value head add up.
    addRows(dK, D, stored, dk, at.k, b, g);
    addRows(dV, E, stored, dv, at.v, b, g);
  }

  const tensor = (values: Float64Array, shape: readonly number[]) => tensorOf(values, shape, want.out);
  return {
    dq: tensor(dq, at.q.shape),
    dk: tensor(dk, at.k.shape),
    dv: tensor(dv, at.v.shape),
    ...(biasShape !== null && { dBias: tensor(dBias.values, biasShape) }),
    ...(problem.sink !== null && { dSink: tensor(dSink, [problem.H]) }),
  };
}

/** dQ [N,D], dK [M,D] and dV [M,E] of one head, and what it adds to dBias and dSink. */
function headGradients(head: Head, rows: RowReader, dBias: BiasGradient, dSink: Float64Array) {
  const { problem, h, N, M, Q, K, V, stored } = head;
  const { D, E, scale, semantics } = problem;
  const sink = sinkOf(head);
  const bias = biasSlope(head);
  // line 3: dQ starts at zero; line 7: so do dK_j and dV_j
  const dQ = new Float64Array(N * D);
  const dK = new Float64Array(stored * D);
  const dV = new Float64Array(stored * E);
  const x = new Float64Array(M);
  const slope = new Float64Array(M);
  const Z = new Float64Array(M);

  // line 8: for each query (line 9 loads Q_i, O_i, dO_i, L_i)
  for (let i = 0; i < N; i++) {
    const { O, dO, lse, dLse } = rows(head, i);
    // The lse that normalises P counts the sink, whether or not the reported one does.
    const L = semantics.lseIncludesSink ? lse : logSumExp(addSink({ m: lse, l: 1 }, sink));
    if (L === -Infinity) {
      if (semantics.emptyRow === "mean") {
        for (let j = 0; j < stored; j++) addScaled(dV, j * E, 1 / stored, dO, 0, E);
      }
      continue;
    }
    // line 4: D = rowsum(dO ∘ O)
    const D_i = dot(dO, 0, O, 0, E);
    // l counts exp(sink − m): its share of the softmax has no value, so dP of it is 0
    const P_sink = exp(sink - L);
    dSink[h] -= P_sink * D_i;
    if (semantics.lseIncludesSink) dSink[h] += P_sink * dLse;
    // line 10: S_i = Q_i K_jᵀ
    scores(head, i, 0, M, x, slope);
    Z.fill(1);
    dropRow(head, i, 0, Z);

    for (let j = 0; j < M; j++) {
      if (x[j] === -Infinity) continue;
      // line 11: P = exp(S − L)
      const P = exp(x[j] - L);
      // O = (P ∘ Z) V; line 12: dV_j += (P ∘ Z)ᵀ dO
      addScaled(dV, j * E, P * Z[j], dO, 0, E);
      // O = (P ∘ Z) V; line 13: dP = dO V_jᵀ ∘ Z
      const dP = dot(dO, 0, V, j * E, E) * Z[j];
      // P = softmax(S); line 14: dS = P ∘ (dP − D); lse = log Σ exp S adds its own softmax
      const dS = P * (dP - D_i) + (lse === L ? P : exp(x[j] - lse)) * dLse;
      // x = S + bias
      dBias.add(head, i, j, bias * dS);
      // S = softcap·tanh(s/softcap), s = scale·Q Kᵀ; line 15: dQ_i += dS K_j; line 16: dK_j += dSᵀ Q_i
      const ds = scale * slope[j] * dS;
      addScaled(dQ, i * D, ds, K, j * D, D);
      addScaled(dK, j * D, ds, Q, i * D, D);
    }
  }
  return { dQ, dK, dV };
}

type RowReader = (head: Head, i: number) => { O: Float64Array; dO: Float64Array; lse: number; dLse: number };

/** Rows of out and dOut, and lse with its gradient in natural units. */
function rowReader({ problem, out, dOut, lse, dLse }: BackwardProblem): RowReader {
  const outAt = placeOut(problem);
  const lseAt = placeLse(problem);
  const O = toFloat64(out);
  const dO = toFloat64(dOut);
  const L = toFloat64(lse);
  const dL = dLse === null ? null : toFloat64(dLse);
  const unit = problem.semantics.lseBase === "2" ? LOG2E : 1;
  return (head, i) => {
    const row = startOf(outAt, head.b, head.h, i);
    const one = startOf(lseAt, head.b, head.h, i);
    return {
      O: O.subarray(row, row + problem.E),
      dO: dO.subarray(row, row + problem.E),
      lse: naturalLse(head, i, L[one]),
      dLse: dL === null ? 0 : dL[one] * unit,
    };
  };
}

interface BiasGradient {
  readonly values: Float64Array;
  add(head: Head, i: number, j: number, value: number): void;
}

/** dBias in the bias's own shape: an axis along which it was stretched is summed over. */
function biasGradient({ B, H, N, M }: Problem, shape: readonly number[] | null): BiasGradient {
  if (shape === null) return { values: new Float64Array(0), add: () => {} };
  const values = new Float64Array(sizeOf(shape));
  const own: View = { data: values, dtype: "float64", shape, strides: rowMajor(shape), offset: 0 };
  const [batch, head, row, column] = broadcast("dBias", own, [B, H, N, M], "[B,H,N,M]").strides;
  return {
    values,
    add: ({ b, h }, i, j, value) => values[b * batch + h * head + i * row + j * column] += value,
  };
}

/** Adds dense rows where the layout has them. */
function addRows(
  source: Float64Array,
  width: number,
  rows: number,
  target: Float64Array,
  at: Placement,
  b: number,
  h: number,
): void {
  for (let i = 0; i < rows; i++) addScaled(target, startOf(at, b, h, i), 1, source, i * width, width);
}
