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
import { type Gradients, placeGradients, placeLse, type Placement, placeOut } from "../result.ts";
import { broadcast, rowMajor, sizeOf, type TensorInput, toFloat64 } from "../tensor.ts";
import { addScaled, dot } from "./dot.ts";
import { dropRow } from "./dropout.ts";
import { heads } from "./heads.ts";
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
  const { B, H, N, M, D, E, group, scale, semantics, sink, want } = problem;
  const at = placeGradients(problem);
  const outAt = placeOut(problem);
  const lseAt = placeLse(problem);
  const [O, dO, L] = [task.out, task.dOut, task.lse].map(toFloat64);
  const dL = task.dLse && toFloat64(task.dLse);
  const unit = semantics.lseBase === "2" ? LOG2E : 1;
  const zeros = (shape: readonly number[]) => new Float64Array(sizeOf(shape));
  const dq = zeros(at.q.shape);
  const dk = zeros(at.k.shape);
  const dv = zeros(at.v.shape);
  const dSink = zeros([H]);
  // dBias in the bias's own shape: an axis along which it was stretched is summed over.
  const dBias = zeros(biasShape ?? [0]);
  const strides = biasShape && broadcast(
    "dBias",
    { data: dBias, dtype: "float64", shape: biasShape, strides: rowMajor(biasShape), offset: 0 },
    [B, H, N, M],
    "[B,H,N,M]",
  ).strides;

  for (const head of heads(problem)) {
    const { b, h, N, M, Q, K, V, stored } = head;
    const bias = biasSlope(head);
    // line 7: dK_j and dV_j start at zero (line 3: so did dQ)
    const dK = zeros([stored, D]);
    const dV = zeros([stored, E]);
    const x = new Float64Array(M);
    const slope = new Float64Array(M);
    const Z = new Float64Array(M);

    // line 8: for each query (line 9 loads Q_i, O_i, dO_i, L_i)
    for (let i = 0; i < N; i++) {
      const row = startOf(outAt, b, h, i);
      const one = startOf(lseAt, b, h, i);
      const lse = naturalLse(head, i, L[one]);
      const dLse = dL ? dL[one] * unit : 0;
      // The lse that normalises P counts the sink, whether or not the reported one does.
      const L_i = semantics.lseIncludesSink ? lse : logSumExp(addSink({ m: lse, l: 1 }, sinkOf(head)));
      if (L_i === -Infinity) {
        if (semantics.emptyRow === "mean") {
          for (let j = 0; j < stored; j++) addScaled(dV, j * E, 1 / stored, dO, row, E);
        }
        continue;
      }
      // line 4: D = rowsum(dO ∘ O)
      const D_i = dot(dO, row, O, row, E);
      // l counts exp(sink − m): its share of the softmax has no value, so dP of it is 0
      const P_sink = exp(sinkOf(head) - L_i);
      dSink[h] -= P_sink * D_i;
      if (semantics.lseIncludesSink) dSink[h] += P_sink * dLse;
      // line 10: S_i = Q_i K_jᵀ
      scores(head, i, 0, M, x, slope);
      Z.fill(1);
      dropRow(head, i, 0, Z);

      for (let j = 0; j < M; j++) {
        if (x[j] === -Infinity) continue;
        // line 11: P = exp(S − L)
        const P = exp(x[j] - L_i);
        // O = (P ∘ Z) V; line 12: dV_j += (P ∘ Z)ᵀ dO
        addScaled(dV, j * E, P * Z[j], dO, row, E);
        // O = (P ∘ Z) V; line 13: dP = dO V_jᵀ ∘ Z
        const dP = dot(dO, row, V, j * E, E) * Z[j];
        // P = softmax(S); line 14: dS = P ∘ (dP − D); lse = log Σ exp S adds its own softmax
        const dS = P * (dP - D_i) + (lse === L_i ? P : exp(x[j] - lse)) * dLse;
        // x = S + bias
        if (strides) dBias[b * strides[0] + h * strides[1] + i * strides[2] + j * strides[3]] += bias * dS;
        // S = softcap·tanh(s/softcap), s = scale·Q Kᵀ; line 15: dQ_i += dS K_j; line 16: dK_j += dSᵀ Q_i
        const ds = scale * slope[j] * dS;
        addScaled(dq, startOf(at.q, b, h, i), ds, K, j * D, D);
        addScaled(dK, j * D, ds, Q, i * D, D);
      }
    }
    const g = Math.floor(h / group);
    // Query heads that share a key/value head add up.
    addRows(dK, D, stored, dk, at.k, b, g);
    addRows(dV, E, stored, dv, at.v, b, g);
  }

  const tensor = (values: Float64Array, shape: readonly number[]) => tensorOf(values, shape, want.out);
  return {
    dq: tensor(dq, at.q.shape),
    dk: tensor(dk, at.k.shape),
    dv: tensor(dv, at.v.shape),
    ...(biasShape !== null && { dBias: tensor(dBias, biasShape) }),
    ...(sink !== null && { dSink: tensor(dSink, [H]) }),
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
