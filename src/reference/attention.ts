/**
 * Attention, row by row, as the formula says it:
 *
 *   x_ij = softcap(scale·⟨q_i, k_j⟩) + ALiBi + bias_ij,  −∞ where i may not see j        scores.ts
 *   m_i = max_j x_ij     l_i = Σ_j exp(x_ij − m_i) + exp(sink − m_i)     lse_i = m_i + ln l_i
 *   P_ij = exp(x_ij − m_i)/l_i · keep_ij/(1 − p)          O_i = Σ_j P_ij v_j
 *
 * Q [B,H,N,D], K [B,G,M,D], V [B,G,M,E] → O [B,H,N,E], lse [B,H,N]. 2·B·H·N·M·(D + E) flops; 16·M bytes beside the
 * inputs, one row of x and P. Where systems differ (an empty row, the base of lse, …) `Semantics` decides.
 */
import type { AttentionOptions } from "../options.ts";
import { createProblem, type Problem } from "../problem.ts";
import type { AttentionResult } from "../result.ts";
import type { TensorInput } from "../tensor.ts";
import { addScaled } from "./dot.ts";
import { dropRow } from "./dropout.ts";
import { heads } from "./heads.ts";
import { outputs } from "./outputs.ts";
import { expSum, rowMax } from "./row.ts";
import { forwardSage } from "./sage.ts";
import { scores } from "./scores.ts";

/** Keys whose weighted values are summed before they join O: rounding grows with BLOCK + M/BLOCK instead of M. */
const BLOCK = 64;

/**
 * Exact attention in float64: softmax(scale·QKᵀ)V with every option, in pure TypeScript, the same bits on every
 * engine.
 *
 * @param q Queries, [B,H,N,D] unless `layout` says otherwise.
 * @param k Keys, [B,G,M,D]; G divides H, query head h reads key/value head ⌊h·G/H⌋.
 * @param v Values, [B,G,M,E].
 * @param options All optional; see {@link AttentionOptions}. `out` is float64 unless told.
 * @returns `out` [B,H,N,E] (in the layout of q), and if asked for `lse` [B,H,N] ([H,total] with "thd") and
 *   `probabilities` [B,H,N,M], the weights of V, both float64.
 * @throws {TypeError} A wrong kind of thing.
 * @throws {RangeError} A wrong value or shape.
 *
 * @example
 * ```ts
 * import { attention } from "flashtile/reference";
 * const q = { data: new Float32Array([1, 0]), shape: [1, 1, 1, 2] };
 * const k = { data: new Float32Array([0, 1, 0, 2]), shape: [1, 1, 2, 2] };
 * const v = { data: new Float32Array([1, 3]), shape: [1, 1, 2, 1] };
 * const { out, lse } = attention(q, k, v, { lse: true });
 * console.log(out.data[0], lse!.data[0]); // 2 0.6931471805599453
 * ```
 */
export function attention(
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  options: AttentionOptions = {},
): AttentionResult {
  return forward(createProblem(q, k, v, options));
}

/** Attention of a validated problem, quantised if it says so. */
export function forward(problem: Problem): AttentionResult {
  if (problem.precision !== null) return forwardSage(problem);
  const { E } = problem;
  const result = outputs(problem);
  for (const head of heads(problem)) {
    const { N, M, V } = head;
    for (let i = 0; i < N; i++) {
      const x = new Float64Array(M);
      scores(head, i, 0, M, x);
      const m = rowMax(x);
      const l = expSum(x.slice(), m);
      const P = new Float64Array(problem.M);
      result.store(head, i, { m, l }, (out, all) => {
        // P_i = exp(x_i − m)/l, dropped
        const row = P.subarray(0, M);
        row.set(x);
        expSum(row, all.m);
        for (let j = 0; j < M; j++) if (x[j] !== -Infinity) row[j] /= all.l;
        dropRow(head, i, 0, row);
        // O_i = P_i V
        for (let first = 0; first < M; first += BLOCK) {
          const block = new Float64Array(E);
          for (let j = first; j < Math.min(first + BLOCK, M); j++) {
            if (x[j] !== -Infinity) addScaled(block, 0, P[j], V, j * E, E);
          }
          addScaled(out, 0, 1, block, 0, E);
        }
      }, P);
    }
  }
  return result.finish();
}
