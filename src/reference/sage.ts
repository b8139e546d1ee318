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
 * Beside the inputs: their codes, N·M/blockQ of ΔS, two rows of P.
 */
import type { Problem } from "../problem.ts";
import { type Recipe, TILE } from "../precision.ts";
import type { AttentionResult } from "../result.ts";
import { dropRow } from "./dropout.ts";
import { type Head, heads } from "./heads.ts";
import { exp } from "./math.ts";
import { fillEmptyRow, type Outputs, outputs } from "./outputs.ts";
import { addSink, logSumExp, reportedLse, sinkOf } from "./row.ts";
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
      const row = new Row(product ? { ...head, product } : head, values, recipe);
      for (let i = 0; i < head.N; i++) row.attend(i, result);
    }
  }
  return result.finish();
}

/** The query heads that share a key/value head, together. */
export function* headGroups(problem: Problem): Generator<Head[]> {
  let group: Head[] = [];
  for (const head of heads(problem)) {
    group.push(head);
    if (group.length < problem.group) continue;
    yield group;
    group = [];
  }
}

/** One row after the other of a head. */
class Row {
  readonly #head: Head;
  readonly #values: QuantisedValues;
  readonly #weights: ReturnType<typeof weightCodes>;
  readonly #sum: ReturnType<typeof summation>;
  readonly #byTile: boolean;
  /** Of a tile: x, then p; its codes; 0 where dropout drops. */
  readonly #p = new Float64Array(TILE);
  readonly #codes = new Float64Array(TILE);
  readonly #kept = new Float64Array(TILE);
  /**
   * Of the row: codes(p)·codes(V), of all tiles, of one, of one instruction; the sum of the weights of V; codes(p)/top
   * and the maximum they refer to.
   */
  readonly #O: Float64Array;
  readonly #sums: Float64Array;
  readonly #products: Float64Array;
  #mass = 0;
  readonly #P: Float64Array;
  readonly #reference: Float64Array;

  constructor(head: Head, values: QuantisedValues, recipe: Recipe) {
    this.#head = head;
    this.#values = values;
    this.#weights = weightCodes(recipe);
    this.#sum = summation(recipe);
    this.#byTile = recipe.pScale === "tile";
    this.#O = new Float64Array(head.problem.E);
    this.#sums = new Float64Array(head.problem.E);
    this.#products = new Float64Array(head.problem.E);
    this.#P = new Float64Array(head.problem.M);
    this.#reference = new Float64Array(Math.ceil(head.M / TILE));
  }

  attend(i: number, result: Outputs): void {
    const head = this.#head;
    const O = this.#O.fill(0);
    const P = this.#P.fill(0);
    this.#mass = 0;
    let m = -Infinity;
    let l = 0;
    for (let j0 = 0; j0 < head.M; j0 += TILE) {
      const p = this.#p.subarray(0, Math.min(TILE, head.M - j0));
      scores(head, i, j0, j0 + p.length, p);
      let own = -Infinity;
      for (const x of p) own = Math.max(own, x);
      if (own === -Infinity) continue;
      const top = Math.max(m, own);
      const reference = this.#byTile ? own : top;
      this.#reference[j0 / TILE] = reference;
      const shrink = exp(m - top);
      const weight = exp(reference - top);
      m = top;
      const seen = p.map((x) => x === -Infinity ? 0 : 1);
      p.forEach((x, n) => p[n] = seen[n] ? exp(x - reference) : 0);
      l = l * shrink + weight * p.reduce((sum, x) => sum + x, 0);
      this.#addTile(i, j0, p, seen, shrink, weight);
    }

    const keys = { m, l };
    const all = addSink(keys, sinkOf(head));
    result.setLse(head, i, reportedLse(head, i, logSumExp(keys), logSumExp(all)));
    const out = result.row(head, i);
    if (all.m === -Infinity) fillEmptyRow(head, out, P);
    else if (m !== -Infinity) {
      const share = exp(m - all.m) / all.l;
      const { dropout } = head.problem;
      const kept = dropout === null ? share : share / (1 - dropout.p);
      const { units, tiled, mean } = this.#values;
      for (let e = 0; e < O.length; e++) {
        out[e] = O[e] / this.#weights.top * (tiled ? 1 : units[e]) * kept;
        if (mean) out[e] += mean[e] * (this.#mass * kept);
      }
      for (let j = 0; j < head.M; j++) {
        if (P[j] !== 0) P[j] *= exp(this.#reference[Math.floor(j / TILE)] - m) * kept;
      }
    }
    result.setProbabilities(head, i, P);
  }

  /** O ← O·shrink + weight·codes(p)·codes(V) of the keys from j0 on. */
  #addTile(
    i: number,
    j0: number,
    p: Float64Array,
    seen: Float64Array,
    shrink: number,
    weight: number,
  ): void {
    const { problem } = this.#head;
    const { E } = problem;
    const { codes: v, units, tiled } = this.#values;
    const { twoLevels, step, round, join } = this.#sum;
    const O = this.#O;
    const codes = this.#codes.subarray(0, p.length);
    this.#weights.encode(p, codes);
    const kept = this.#kept.subarray(0, p.length).fill(1);
    dropRow(this.#head, i, j0, kept);
    let mass = 0;
    for (let n = 0; n < p.length; n++) {
      if (kept[n] === 0) p[n] = codes[n] = 0;
      mass += p[n];
      this.#P[j0 + n] = codes[n] / this.#weights.top;
    }
    this.#mass = this.#mass * shrink + weight * mass;

    const sum = this.#sums;
    const products = this.#products;
    for (let e = 0; e < E; e++) {
      O[e] = join(O[e] * shrink);
      sum[e] = twoLevels ? 0 : O[e];
    }
    for (let from = 0; from < p.length; from += step) {
      products.fill(0);
      for (let n = from; n < Math.min(from + step, p.length); n++) {
        if (!seen[n]) continue;
        const row = (j0 + n) * E;
        for (let e = 0; e < E; e++) {
          const value = v[row + e];
          // Of NaN and ∞ any weight above 0 makes what the exact weight makes.
          products[e] += (value - value === 0 ? codes[n] : p[n]) * value;
        }
      }
      for (let e = 0; e < E; e++) sum[e] = round(sum[e] + products[e]);
    }
    for (let e = 0; e < E; e++) {
      const unit = weight * (tiled ? units[j0 / TILE * E + e] : 1);
      O[e] = twoLevels ? join(O[e] + sum[e] * unit) : sum[e];
    }
  }
}
