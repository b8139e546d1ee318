/**
 * FlashAttention-2's forward pass, tile by tile: what `attention` computes row by row, without ever holding a row.
 *
 * Source: T. Dao, FlashAttention-2 (arXiv 2307.08691), Algorithm 1; its line numbers stand in the code. Between
 * tiles a row keeps m (maximum so far), l (sum of exp(x − m) so far) and the unnormalised O; when m grows, l and O
 * shrink by exp(m_old − m_new). O is divided by l once, at the end, and lse is all that is stored beside it.
 *
 * Scratch: Br·Bc scores and Br·E outputs. Flops as `attention`, + 2·E per rescale.
 */
import { integer, MAX_INTEGER } from "../check.ts";
import type { AttentionOptions } from "../options.ts";
import { expectFloat32 } from "../precision.ts";
import { createProblem, type Problem } from "../problem.ts";
import type { AttentionResult } from "../result.ts";
import type { TensorInput } from "../tensor.ts";
import { addScaled } from "./dot.ts";
import { dropRow } from "./dropout.ts";
import { heads } from "./heads.ts";
import { exp } from "./math.ts";
import { outputs } from "./outputs.ts";
import { expSum, rowMax } from "./row.ts";
import { scores } from "./scores.ts";

/** Queries and keys of a tile. */
export interface Tile {
  readonly Br: number;
  readonly Bc: number;
}

/**
 * {@link attention} by FlashAttention-2's tiles. The results agree to a few ulp; no row of P ever exists, so
 * `probabilities` is not available.
 *
 * @param tile Br queries × Bc keys, each ≥ 1; 16 × 16 unless told.
 * @throws {RangeError} As `attention`; also for a tile that is not made of integers ≥ 1, and for `probabilities`.
 *
 * @example
 * ```ts
 * import { attentionTiled } from "flashtile/reference";
 * const x = { data: new Float32Array([1, 2, 3, 4]), shape: [1, 1, 4, 1] };
 * const { out } = attentionTiled(x, x, x, { causal: true }, { Br: 2, Bc: 2 });
 * console.log(out.data[0]); // 1
 * ```
 */
export function attentionTiled(
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  options: AttentionOptions = {},
  tile: Tile = { Br: 16, Bc: 16 },
): AttentionResult {
  integer("tile.Br", tile.Br, 1, MAX_INTEGER);
  integer("tile.Bc", tile.Bc, 1, MAX_INTEGER);
  return forwardTiled(createProblem(q, k, v, options), tile);
}

/** The tiled pass over a validated problem. */
export function forwardTiled(problem: Problem, { Br, Bc }: Tile): AttentionResult {
  if (problem.want.probabilities) {
    throw new RangeError("probabilities: not available tile by tile, where no row of P ever exists");
  }
  expectFloat32(problem);
  const { E } = problem;
  const result = outputs(problem);
  for (const head of heads(problem)) {
    const { N, M, V } = head;
    // line 3: for each of the Tr = ⌈N/Br⌉ blocks of queries (lines 1 and 2 divide Q, K, V, O and L into blocks)
    for (let i0 = 0; i0 < N; i0 += Br) {
      const rows = Math.min(Br, N - i0);
      // line 5: start with O = 0, l = 0, m = −∞
      const O = new Float64Array(rows * E);
      const l = new Float64Array(rows);
      const m = new Float64Array(rows).fill(-Infinity);
      // line 6: for each of the Tc = ⌈M/Bc⌉ blocks of keys (line 7 loads K_j and V_j)
      for (let j0 = 0; j0 < M; j0 += Bc) {
        const keys = Math.min(Bc, M - j0);
        const P = new Float64Array(keys);
        for (let r = 0; r < rows; r++) {
          // line 8: a row of S = Q_i K_jᵀ
          scores(head, i0 + r, j0, j0 + keys, P);
          // line 9: m_new = max(m, rowmax S)
          const top = rowMax(P, m[r]);
          // No key so far: m_new is still −∞, and −∞ − (−∞) is no number.
          if (top === -Infinity) continue;
          // line 9: P = exp(S − m_new), l = exp(m − m_new)·l + rowsum P
          const shrink = exp(m[r] - top);
          const allowed = P.map((s) => s === -Infinity ? 0 : 1);
          l[r] = shrink * l[r] + expSum(P, top);
          m[r] = top;
          // line 10: O = exp(m − m_new)·O + P V_j
          dropRow(head, i0 + r, j0, P);
          for (let d = 0; d < E; d++) O[r * E + d] *= shrink;
          for (let j = 0; j < keys; j++) if (allowed[j]) addScaled(O, r * E, P[j], V, (j0 + j) * E, E);
        }
      }
      for (let r = 0; r < rows; r++) {
        // line 13: L = m + ln l; lines 14 and 15 store O and L
        result.store(head, i0 + r, { m: m[r], l: l[r] }, (out, all) => {
          // line 12: O = O/l, which the sink has rescaled to its own maximum
          addScaled(out, 0, exp(m[r] - all.m) / all.l, O, r * E, E);
        });
      }
    }
  }
  return result.finish();
}
