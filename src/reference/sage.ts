/**
 * Attention of a quantised pipeline (src/precision.ts), row by row and tile by tile:
 *
 *   S = dequantised Q̂K̂ᵀ + what smoothing took away                        sagescores.ts
 *   x = softcap, ALiBi, bias, mask as ever                                  scores.ts
 *   for each tile of 64 keys:   m ← max(m, x)    p = exp(x − m)    l ← l·exp(m_old − m) + Σp
 *                               O ← O·exp(m_old − m) + codes(p)·codes(V)    sageweights.ts, sagevalues.ts
 *           or, by tile:        p = exp(x − m_tile), and exp(m_tile − m) multiplies what the tile adds
 *   O ← O/l in V's units, + v̄ Σp/l      lse = m + ln l
 *
 * SageAttention2 (arXiv 2411.10958), Algorithm 1, with the options that its kernels lack. All that isn't quantised is
 * float64, so the distance to `attention` is the price of quantisation alone. P is rounded relative to the maximum
 * so far, or to that of its tile: tiles of 64 from key 0 and their order are part of the result. Weights that dropout keeps are quantised
 * like the others; O is divided by 1 − p at the end.
 *
 * Beside the inputs: their codes, a row of P.
 */
import type { Problem } from "../problem.ts";
import { type Recipe, TILE } from "../precision.ts";
import type { AttentionResult } from "../result.ts";
import { dropRow } from "./dropout.ts";
import { type Head, headGroups } from "./heads.ts";
import { exp } from "./math.ts";
import { type Outputs, outputs } from "./outputs.ts";
import { expSum, rowMax } from "./row.ts";
import { quantisedProduct, quantiseKeys, quantiseQueries } from "./sagescores.ts";
import { type QuantisedValues, quantiseValues } from "./sagevalues.ts";
import { summation, weightCodes } from "./sageweights.ts";
import { scores } from "./scores.ts";
import { seenKeys } from "./seen.ts";

/** The pipeline of `problem.precision`, which isn't null. */
export function forwardSage(problem: Problem): AttentionResult {
  const recipe = problem.precision as Recipe;
  const { D, E } = problem;
  const result = outputs(problem);
  for (const group of headGroups(problem)) {
    const { K, V, M } = group[0];
    const seen = seenKeys(group);
    const values = quantiseValues(V, M, E, seen, recipe);
    const keys = recipe.qk === "float32" ? null : quantiseKeys(K, M, D, seen, recipe);
    for (const head of group) {
      const product = keys && quantisedProduct(head, quantiseQueries(head, recipe), keys, recipe);
      attend(product ? { ...head, product } : head, values, recipe, result);
    }
  }
  return result.finish();
}

/** Row after row of a head. */
function attend(head: Head, values: QuantisedValues, recipe: Recipe, result: Outputs): void {
  const { N, M, problem } = head;
  const { E, dropout } = problem;
  const { codes: v, units, tiled, mean } = values;
  const { top: one, encode } = weightCodes(recipe);
  const { twoLevels, step, round, join } = summation(recipe);
  const byTile = recipe.pScale === "tile";

  for (let i = 0; i < N; i++) {
    // codes(p)·codes(V); codes(p)/one, the maximum they refer to.
    const O = new Float64Array(E);
    const P = new Float64Array(problem.M);
    const references = new Float64Array(Math.ceil(M / TILE));
    let m = -Infinity;
    let l = 0;
    // The sum of the weights of V.
    let mass = 0;
    for (let j0 = 0; j0 < M; j0 += TILE) {
      const p = new Float64Array(Math.min(TILE, M - j0));
      scores(head, i, j0, j0 + p.length, p);
      const own = rowMax(p);
      if (own === -Infinity) continue;
      const top = Math.max(m, own);
      const reference = references[j0 / TILE] = byTile ? own : top;
      const shrink = exp(m - top);
      const weight = exp(reference - top);
      m = top;
      const seen = p.map((x) => x === -Infinity ? 0 : 1);
      l = l * shrink + weight * expSum(p, reference);

      // O ← O·shrink + weight·codes(p)·codes(V)
      const codes = encode(p);
      const kept = new Float64Array(p.length).fill(1);
      dropRow(head, i, j0, kept);
      kept.forEach((keep, n) => {
        if (keep === 0) p[n] = codes[n] = 0;
        P[j0 + n] = codes[n] / one;
      });
      mass = mass * shrink + weight * p.reduce((sum, x) => sum + x, 0);
      for (let e = 0; e < E; e++) {
        O[e] = join(O[e] * shrink);
        let sum = twoLevels ? 0 : O[e];
        for (let from = 0; from < p.length; from += step) {
          let products = 0;
          for (let n = from; n < Math.min(from + step, p.length); n++) {
            if (!seen[n]) continue;
            const value = v[(j0 + n) * E + e];
            // Of NaN and ∞ any weight above 0 makes what the exact weight makes.
            products += (value - value === 0 ? codes[n] : p[n]) * value;
          }
          sum = round(sum + products);
        }
        const unit = weight * (tiled ? units[j0 / TILE * E + e] : 1);
        O[e] = twoLevels ? join(O[e] + sum * unit) : sum;
      }
    }

    result.store(head, i, { m, l }, (out, all) => {
      if (m === -Infinity) return;
      const share = exp(m - all.m) / all.l;
      const kept = dropout === null ? share : share / (1 - dropout.p);
      for (let e = 0; e < E; e++) {
        out[e] = O[e] / one * (tiled ? 1 : units[e]) * kept;
        if (mean) out[e] += mean[e] * (mass * kept);
      }
      for (let j = 0; j < M; j++) {
        if (P[j] !== 0) P[j] *= exp(references[Math.floor(j / TILE)] - m) * kept;
      }
    }, P);
  }
}
