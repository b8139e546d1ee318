/**
 * What quantising P and V may add to the error of a row of O (docs/error-bounds.md §10):
 *
 *   |Ô − O| ≤ … + Σ_j û_j·e_v + Σ_j ρ_j·(|v′_j| + e_v) + accumulators
 *
 * û_j: the most that the weight p̂_j can be. ρ_j: what rounding it to a code can change, relative to l̂. 6·E flops a
 * value.
 */
import type { Problem } from "../problem.ts";
import { type Recipe, TILE } from "../precision.ts";
import type { Head } from "../reference/heads.ts";
import { exp } from "../reference/math.ts";
import { type QuantisedValues, quantiseValues } from "../reference/sagevalues.ts";
import { summation, summationError, weightCodes } from "../reference/sageweights.ts";
import type { Arithmetic } from "./arithmetic.ts";
import { codeError } from "./codeerror.ts";
import { U } from "./quantisedscores.ts";
import { type RowScores, SECOND_ORDER } from "./rowscores.ts";
import type { RowWeights } from "./weights.ts";

/** In place of ∞, so that 0 times it stays 0. */
const HUGE = 2 ** 1000;

export class ValueErrors {
  readonly #recipe: Recipe;
  readonly #arithmetic: Arithmetic;
  readonly #top: number;
  #values: QuantisedValues | null = null;
  /** |v′| and e_v, [M,E]. */
  #size = new Float64Array(0);
  #error = new Float64Array(0);
  /** Largest |v′| that a tensor core may multiply. */
  #largest = 0;
  /** û, ρ of the keys of a row. */
  readonly #most: Float64Array;
  readonly #rounding: Float64Array;
  /** Σ û·e_v + ρ·(|v′| + e_v) and Σ (û + ρ)(|v′| + e_v). */
  readonly #added: Float64Array;
  readonly #mass: Float64Array;

  constructor(problem: Problem, arithmetic: Arithmetic) {
    this.#recipe = problem.precision as Recipe;
    this.#arithmetic = arithmetic;
    this.#top = weightCodes(this.#recipe).top;
    this.#most = new Float64Array(problem.M);
    this.#rounding = new Float64Array(problem.M);
    this.#added = new Float64Array(problem.E);
    this.#mass = new Float64Array(problem.E);
  }

  enterGroup({ problem, V, M }: Head, seen: Uint8Array): void {
    const { E } = problem;
    const { pv, smoothV } = this.#recipe;
    const values = quantiseValues(V, M, E, seen, this.#recipe);
    const { smooth, counts, grid } = values;
    const input = problem.v.dtype === "float64" && (pv !== "float32" || smoothV) ? U : 0;
    const difference = smoothV ? U : 0;
    const slip = this.#drift(V, M, E, values);
    const error = codeError(pv, grid.top);
    this.#size = smooth.map((v, at) => Math.abs(v) + slip[at % E]);
    this.#error = this.#size.map((size, at) => {
      const [j, e] = [Math.floor(at / E), at % E];
      if (!counts(j, e)) return 0;
      const scale = values.scaleAt(j, e) + slip[e] / grid.top;
      // A code times its unit may fall below the least normal number.
      const tiny = pv === "float32/fp8" ? this.#arithmetic.eta : 0;
      return error(size, scale) + difference * size + input * Math.abs(V[at]) + tiny;
    });
    this.#largest = this.#size.reduce(
      (most, v, at) => counts(Math.floor(at / E), at % E) && v > most ? v : most,
      0,
    );
    this.#values = values;
  }

  /** As for K: another implementation's mean may differ by the rounding of its sum. */
  #drift(V: Float64Array, M: number, E: number, { mean, counts }: QuantisedValues): Float64Array {
    const { u } = this.#arithmetic;
    const slip = new Float64Array(E);
    if (mean === null || u < U) return slip;
    for (let at = 0; at < M * E; at++) {
      if (counts(Math.floor(at / E), at % E)) slip[at % E] += 2 * u * Math.abs(V[at]);
    }
    return slip;
  }

  /** Adds to the bounds of O_i; `kept` holds what dropout multiplies each key by. */
  add(
    head: Head,
    row: RowScores,
    weights: RowWeights,
    error: Float64Array,
    kept: Float64Array,
    bound: Float64Array,
  ): void {
    const { count, key } = row;
    if (count === 0) return;
    const { E, dropout } = head.problem;
    const least = this.#weights(row, weights, error);
    const added = this.#added.fill(0);
    const mass = this.#mass.fill(0);
    for (let n = 0; n < count; n++) {
      const keep = kept[key[n]];
      const most = this.#most[n] * keep;
      const rounding = this.#rounding[n] * keep;
      const v = key[n] * E;
      for (let e = 0; e < E; e++) {
        const off = this.#error[v + e];
        const size = this.#size[v + e] + off;
        added[e] += most * off + rounding * size;
        mass[e] += (most + rounding) * size;
      }
    }
    const tiles = Math.floor(key[count - 1] / TILE) - Math.floor(key[0] / TILE) + 1;
    const sums = this.#sums(tiles, weights.rescales, count);
    const { u } = this.#arithmetic;
    const factor = (dropout === null ? 1 : 1 / (1 - dropout.p)) / (this.#top * least);
    const { mean, units } = this.#values!;
    for (let e = 0; e < E; e++) {
      let unit = units[e];
      for (let at = e + E; at < units.length; at += E) unit = Math.max(unit, units[at]);
      const average = mean === null ? 0 : Math.abs(mean[e]) * (weights.sumError + 4 * u);
      bound[e] += SECOND_ORDER * (added[e] + sums.relative * mass[e] + average) +
        sums.absolute * unit * factor;
    }
  }

  /** û and ρ of each key; returns the least that Σ exp(x̂ − m̂) over the keys can be. */
  #weights({ count, key }: RowScores, weights: RowWeights, error: Float64Array): number {
    const { p, change } = weights;
    let changed = weights.sinkChange;
    let largest = 0;
    for (let n = 0; n < count; n++) {
      changed += change[n];
      largest = Math.max(largest, error[n]);
    }
    const least = Math.max(1, weights.lKeys * exp(-2 * largest - 2 ** -8));
    // w/l̂ = (w/l)(1 + (l − l̂)/l̂), and |l − l̂|/l̂ is at most all that changed.
    for (let n = 0; n < count; n++) this.#most[n] = Math.min(1, p[n] * (1 + changed) + change[n]);

    const [relative, absolute] = this.#steps();
    const fp4 = this.#recipe.pv === "fp4";
    const size = fp4 ? 16 : TILE;
    for (let first = 0; first < count;) {
      const group = Math.floor(key[first] / size);
      let last = first;
      let top = 0;
      while (last < count && Math.floor(key[last] / size) === group) top = Math.max(top, this.#most[last++]);
      // The weight of p = 1: that of the maximum so far, or of the tile.
      const unit = this.#recipe.pScale === "tile" && !fp4 ? Math.min(top, 1 / least) : 1 / least;
      for (let n = first; n < last; n++) {
        const most = this.#most[n];
        const step = fp4
          ? fp4Error(most, top, this.#top * least)
          : Math.max(relative * most, absolute * unit);
        // Rounding to nearest never leaves x further from x than 0 is.
        this.#rounding[n] = Math.min(most, step) + 2 * this.#arithmetic.u * most;
      }
      first = last;
    }
    return least;
  }

  /** Rounding of p to its code: relative to p, and at least. */
  #steps(): [relative: number, absolute: number] {
    const scale = this.#top;
    switch (this.#recipe.pv) {
      case "float32":
      case "float32/fp8":
      case "fp4":
        return [0, 0];
      case "fp16":
        return [2 ** -11, 2 ** -25 / scale];
      case "fp8":
        return [2 ** -4, 2 ** -10 / scale];
      case "fp8e5m2":
        return [2 ** -3, 2 ** -17 / scale];
      default:
        return [0, 0.5 / scale];
    }
  }

  /** What summing P·V may be off by, relative to Σ|p̂ v̂| and in codes. */
  #sums(tiles: number, rescales: number, keys: number): { relative: number; absolute: number } {
    const { accumulator, pv } = this.#recipe;
    const { twoLevels, step } = summation(this.#recipe);
    const { relative, absolute } = summationError(accumulator);
    // Codes are integers or have few bits, but products of floats are rounded where they are added one by one.
    // Those of unrounded weights go to O one after the other, and a code times its unit is rounded before.
    const added = pv === "float32/fp8" ? keys : pv.startsWith("int") ? 0 : TILE;
    const own = this.#arithmetic.u * (added + 4 * tiles + rescales + 16);
    if (accumulator === "float32") return { relative: own, absolute: 0 };
    const inTile = TILE / step;
    const joins = accumulator === "fp16" ? relative * rescales : U * (tiles + rescales);
    const float16 = absolute > 0;
    // A sum of float16 must not pass 65504; 448·2.25·64 doesn't.
    const reach = this.#largest * (twoLevels ? 1 : tiles) * TILE;
    if (float16 && pv === "fp16" && reach >= 65504) return { relative: HUGE, absolute: 0 };
    return {
      relative: own + (twoLevels ? inTile : inTile * tiles) * relative + joins,
      absolute: tiles * (inTile + (twoLevels ? 0 : rescales)) * absolute,
    };
  }
}

/** NVFP4 (Grid.error of `nvfp4`), where scale and maximum of the group are known as bounds only. */
function fp4Error(most: number, top: number, scale: number): number {
  const least = 2 ** -10 / scale;
  const step = top / 6 * (1 + 2 ** -4) + least;
  return Math.max(Math.max(step, most) / 4, top / 16 + 6 * least);
}
