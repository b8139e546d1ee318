/**
 * How far two float64 computations of a golden case's gradients may differ, entry by entry (first order, u = 2^−53,
 * everything twice because both are computed):
 *
 *   W_i    bound of the relative error of row i's weights: float64Bounds with values of one
 *   A_ij   = P_ij·(Σ_e|dO_ie||V_je| + Σ_e|dO_ie||O_ie|), which |dS_ij| cannot exceed; its two dots are rounded E times
 *   dQ     Σ_j scale·A_ij|K_j|·w,   dK   Σ_i scale·A_ij|Q_i|·w,   dBias  Σ A_ij·w,   dSink  Σ_i P_s·A_i·w
 *   dV     Σ_i P_ij|dO_i|·w         with w = 2·W_i + (2·E + n + 16)·u, n the terms of the sum
 *
 * 2·W_i, because the slope of a softcap ≥ 1 is off by no more than the score it multiplies.
 */
import { createBackwardProblem } from "../../src/gradients.ts";
import { dot } from "../../src/reference/dot.ts";
import { heads } from "../../src/reference/heads.ts";
import type { FloatTensor, Gradients } from "../../src/reference/index.ts";
import { scores } from "../../src/reference/scores.ts";
import { placeGradients, placeLse, placeOut } from "../../src/result.ts";
import { broadcast, rowMajor, sizeOf, toFloat64 } from "../../src/tensor.ts";
import { float64Bounds, type Golden } from "./golden.ts";

export function gradientBounds(
  example: Golden,
  out: FloatTensor,
  lse: FloatTensor,
): Record<keyof Gradients, Float64Array> {
  const { q, k, v, options, tensors } = example;
  const dOut = tensors.get("dout")!;
  const { problem, biasShape } = createBackwardProblem(q, k, v, out, lse, dOut, options);
  const { B, H, N, M, D, E, scale, group } = problem;
  const ones = { dtype: "float32" as const, shape: v.shape, data: new Float32Array(sizeOf(v.shape)).fill(1) };
  const weights = float64Bounds({ ...example, v: ones }).out;
  const at = {
    ...placeGradients(problem),
    o: placeOut(problem),
    l: placeLse(problem),
  };
  const bounds = {
    dq: new Float64Array(sizeOf(at.q.shape)),
    dk: new Float64Array(sizeOf(at.k.shape)),
    dv: new Float64Array(sizeOf(at.v.shape)),
    dBias: new Float64Array(sizeOf(biasShape ?? [0])),
    dSink: new Float64Array(H),
  };
  const own = {
    data: bounds.dBias,
    dtype: "float64" as const,
    shape: biasShape ?? [1],
    strides: rowMajor(biasShape ?? [1]),
    offset: 0,
  };
  const biasAt = broadcast("dBias", own, [B, H, N, M], "[B,H,N,M]").strides;
  const O = (out.data as Float64Array).map(Math.abs);
  const dO = toFloat64({ ...dOut, strides: rowMajor(dOut.shape), offset: 0 }).map(Math.abs);
  const x = new Float64Array(M);
  const u = 2 * 2 ** -53;
  const terms = 2 * E + Math.max(M, N * group) + 16;

  for (const head of heads(problem)) {
    const { b, h } = head;
    const g = Math.floor(h / group);
    const [Q, K, V] = [head.Q, head.K, head.V].map((t) => t.map(Math.abs));
    const row = ({ base, head, row }: typeof at.q, heads: number, i: number) =>
      base[b] + heads * head + i * row;
    for (let i = 0; i < head.N; i++) {
      const o = row(at.o, h, i);
      const w = 2 * (E > 0 ? weights[o] : 0) + terms * u;
      const D_i = dot(dO, o, O, o, E);
      // The golden lse leaves the sink out; P counts it.
      const sink = problem.sink === null ? 0 : Math.exp(problem.sink[h]);
      const L = Math.log(Math.exp(lse.data[row(at.l, h, i)]) + sink);
      bounds.dSink[h] += (L === -Infinity ? 0 : sink / Math.exp(L)) * D_i * w;
      scores(head, i, 0, head.M, x);
      for (let j = 0; j < head.M; j++) {
        if (x[j] === -Infinity) continue;
        const P = Math.exp(x[j] - (problem.sink === null ? lse.data[row(at.l, h, i)] : L));
        const A = P * (dot(dO, o, V, j * E, E) + D_i) * w;
        for (let e = 0; e < E; e++) bounds.dv[row(at.v, g, j) + e] += P * dO[o + e] * w;
        for (let d = 0; d < D; d++) {
          bounds.dq[row(at.q, h, i) + d] += Math.abs(scale) * A * K[j * D + d];
          bounds.dk[row(at.k, g, j) + d] += Math.abs(scale) * A * Q[i * D + d];
        }
        if (biasShape) bounds.dBias[b * biasAt[0] + h * biasAt[1] + i * biasAt[2] + j * biasAt[3]] += A;
      }
    }
  }
  return bounds;
}
