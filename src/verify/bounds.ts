/**
 * How far a computed O and lse may lie from exact: a bound for each element, derived for the very inputs
 * (docs/error-bounds.md §6).
 *
 *   |Ô_e − O_e| ≤ min(Σ_j c_j·|v_je − O_e|, the widest that any mean of the v_je can be) + what P·V, l and storing round
 *
 * with c_j the change of weight j relative to l̂ (weights.ts). Cost: 2·B·H·N·M·(15·D + 6·E) flops; scratch O(M + E).
 */
import { dropRow } from "../reference/dropout.ts";
import { type Head, heads } from "../reference/heads.ts";
import { sinkOf } from "../reference/row.ts";
import type { Problem } from "../problem.ts";
import { placeLse, placeOut } from "../result.ts";
import { sizeOf } from "../tensor.ts";
import type { Arithmetic } from "./arithmetic.ts";
import { Quantisation } from "./quantisation.ts";
import { RowScores, SECOND_ORDER } from "./rowscores.ts";
import { Run } from "./sums.ts";
import { RowWeights } from "./weights.ts";

/** Bounds in the places of the results (src/result.ts). */
export interface ForwardBounds {
  readonly out: Float64Array;
  readonly lse: Float64Array;
  /** [B,H,N,M], if the problem wants probabilities. */
  readonly probabilities: Float64Array | null;
}

/**
 * Bounds of |computed − exact| for a forward pass in each arithmetic, results stored in its own format, added up:
 * with two arithmetics, how far two computed results may lie apart.
 */
export function forwardBounds(problem: Problem, ...arithmetics: readonly Arithmetic[]): ForwardBounds {
  const outAt = placeOut(problem);
  const lseAt = placeLse(problem);
  const out = new Float64Array(sizeOf(outAt.shape));
  const lse = new Float64Array(sizeOf(lseAt.shape));
  const { B, H, N, M } = problem;
  const probabilities = problem.want.probabilities ? new Float64Array(B * H * N * M) : null;
  const scores = new RowScores(M);
  const rows = [...new Set(arithmetics)].map((arithmetic) => ({
    bounds: new RowBounds(problem, scores, arithmetic),
    times: arithmetics.filter((same) => same === arithmetic).length,
  }));
  const bound = new Float64Array(problem.E);
  for (const head of heads(problem)) {
    const { b, h } = head;
    for (const { bounds } of rows) bounds.enter(head);
    for (let i = 0; i < head.N; i++) {
      const start = outAt.base[b] + h * outAt.head + i * outAt.row;
      scores.read(head, i);
      for (const { bounds, times } of rows) {
        lse[lseAt.base[b] + h * lseAt.head + i * lseAt.row] += times * bounds.read(head, i, bound);
        for (let e = 0; e < problem.E; e++) out[start + e] += times * bound[e];
        const row = ((b * H + h) * N + i) * M;
        if (probabilities) bounds.addWeights(head, times, probabilities.subarray(row, row + M));
      }
    }
  }
  return { out, lse, probabilities };
}

/** Roundoff of float64, in which bounds are computed. */
const U64 = 2 ** -53;

/** The analysis of one row after the other. */
export class RowBounds {
  readonly scores: RowScores;
  readonly weights: RowWeights;
  readonly error: Float64Array;
  readonly #arithmetic: Arithmetic;
  readonly #quantisation: Quantisation | null;
  /** Of the row: keep/(1 − p) of each key; O_e; Σ change·|v − O|; P·V's partial sums; Σ p|v|; the range of v. */
  readonly #kept: Float64Array;
  readonly #o: Float64Array;
  readonly #moved: Float64Array;
  readonly #rounded: Float64Array;
  readonly #nodes: Float64Array;
  readonly #low: Float64Array;
  readonly #high: Float64Array;
  #largestV = 0;
  readonly #run = new Run();

  constructor(problem: Problem, scores: RowScores, arithmetic: Arithmetic) {
    const quantised = arithmetic.quantised === true && problem.precision !== null;
    // Where P's static scale is that of the maximum, the maximum cannot lag behind.
    const coded = quantised && !problem.precision!.pv.startsWith("float32");
    const lag = problem.precision?.pScale === "row" ? 0 : arithmetic.lag;
    this.#arithmetic = coded ? { ...arithmetic, exp: arithmetic.expOfCodes, lag } : arithmetic;
    this.#quantisation = quantised ? new Quantisation(problem, arithmetic) : null;
    this.scores = scores;
    this.weights = new RowWeights(problem.M);
    this.error = new Float64Array(problem.M);
    this.#kept = new Float64Array(problem.M);
    this.#o = new Float64Array(problem.E);
    this.#moved = new Float64Array(problem.E);
    this.#rounded = new Float64Array(problem.E);
    this.#nodes = new Float64Array(problem.E);
    this.#low = new Float64Array(problem.E);
    this.#high = new Float64Array(problem.E);
  }

  /** Before the rows of another head. */
  enter(head: Head): void {
    this.#quantisation?.enter(head);
    const { V } = head;
    let largest = 0;
    for (const v of V) if (Math.abs(v) < Infinity) largest = Math.max(largest, Math.abs(v));
    this.#largestV = largest;
  }

  /** Exact O of the row last read. */
  get o(): Float64Array {
    return this.#o;
  }

  /** What of its bounds doesn't come from the weights: P·V, the division, storing. */
  get rounded(): Float64Array {
    return this.#rounded;
  }

  /** Writes the bounds of O_i, whose scores have been read, and returns that of lse_i. */
  read(head: Head, i: number, bound: Float64Array): number {
    const { scores, weights, error } = this;
    const sink = sinkOf(head);
    if (scores.count === 0 && sink === -Infinity) return this.#empty(head, bound);
    scores.errors(head, i, this.#arithmetic, error);
    this.#quantisation?.scores.add(head, i, scores, error);
    weights.read(scores, error, sink, this.#arithmetic);
    this.#kept.fill(1);
    dropRow(head, i, 0, this.#kept);
    this.#values(head, bound);
    this.#quantisation?.values.add(head, scores, weights, error, this.#kept, bound);
    return this.#lse(head, i);
  }

  /**
   * Adds `times` the bounds of P of the row last read. Of O's with V_e = 1 at one key and 0 at the others, the change
   * c_j(1 − p_j) + p_j·Σ_k≠j c_k is left, and the roundings of w/l, of what dropout divides by, and of the product.
   */
  addWeights(head: Head, times: number, bound: Float64Array): void {
    const { problem, stored } = head;
    const { u, eta } = this.#arithmetic;
    const { count, key } = this.scores;
    const { p, change, sinkChange, sumError } = this.weights;
    if (count === 0) {
      const mean = problem.semantics.emptyRow === "mean" && sinkOf(head) === -Infinity;
      for (let j = 0; mean && j < stored; j++) bound[j] += times * u / stored;
      return;
    }
    let changed = sinkChange;
    for (let n = 0; n < count; n++) changed += change[n];
    for (let n = 0; n < count; n++) {
      const moved = Math.min(1, change[n] * (1 - p[n] + 4 * U64) + p[n] * (changed - change[n]));
      const rounded = SECOND_ORDER * (6 * u + sumError) * (p[n] + moved) + 2 * eta;
      bound[key[n]] += times * this.#kept[key[n]] * (moved + rounded);
    }
  }

  /** No key: O and lse are constants, or the mean of all V. */
  #empty({ problem, V, stored }: Head, bound: Float64Array): number {
    const { E, semantics } = problem;
    this.#o.fill(0);
    bound.fill(0);
    if (semantics.emptyRow === "mean") {
      for (let j = 0; j < stored; j++) {
        for (let e = 0; e < E; e++) {
          bound[e] += Math.abs(V[j * E + e]) / stored * (stored + 2) * this.#arithmetic.u;
        }
      }
      for (let e = 0; e < E; e++) bound[e] += this.#arithmetic.eta;
    }
    return 0;
  }

  #values({ problem, V }: Head, bound: Float64Array): void {
    const { E } = problem;
    const { count, key } = this.scores;
    const { p, change, sinkP, sinkChange, rescales, sumError } = this.weights;
    const { u, eta, shrink } = this.#arithmetic;
    const o = this.#o.fill(0);
    for (let n = 0; n < count; n++) {
      const weight = p[n] * this.#kept[key[n]];
      if (weight === 0) continue;
      const v = key[n] * E;
      for (let e = 0; e < E; e++) o[e] += weight * V[v + e];
    }
    const moved = this.#moved;
    const mass = bound.fill(0);
    const low = this.#low.fill(sinkP > 0 ? 0 : Infinity);
    const high = this.#high.fill(sinkP > 0 ? 0 : -Infinity);
    for (let e = 0; e < E; e++) moved[e] = sinkChange * Math.abs(o[e]);
    let changed = sinkChange;
    for (let n = 0; n < count; n++) {
      const v = key[n] * E;
      const kept = this.#kept[key[n]];
      const weight = p[n] * kept;
      const c = change[n];
      changed += c;
      for (let e = 0; e < E; e++) {
        const value = kept * V[v + e];
        moved[e] += c * Math.abs(value - o[e]);
        mass[e] += weight * Math.abs(V[v + e]);
        if (value < low[e]) low[e] = value;
        if (value > high[e]) high[e] = value;
      }
    }
    const nodes = this.#partialSums(V, E);
    const roundings = count + rescales;
    const dropped = problem.dropout === null ? 0 : 2;
    const keep = problem.dropout === null ? 1 : 1 / (1 - problem.dropout.p);
    const inputs = u > 2 ** -53 && problem.v.dtype === "float64" ? 1 : 0;
    const shrinks = this.#largestV >= shrink.from;
    for (let e = 0; e < E; e++) {
      const widest = Math.max(high[e] - o[e], o[e] - low[e]);
      const size = Math.max(Math.abs(high[e]), Math.abs(low[e]));
      // v − o is 0 in float64 where one key has all but 2^−53 of the weight, and c may be larger than 2^53.
      moved[e] += changed * (count + 4) * U64 * mass[e];
      const shifted = Math.min(moved[e], widest);
      // |Σ ŵ_j v_j| over any run of keys: the exact one and what changed of it, or no more than the largest |v|.
      const more = moved[e] + changed * Math.abs(o[e]);
      const sums = Math.min(nodes[e] + roundings * more, roundings * size);
      const products = Math.min(mass[e] + more, size) * (1 + dropped + inputs);
      const result = Math.min(Math.abs(o[e]) + shifted, size);
      // Products and partial sums; where V is large, either it or P is scaled down.
      const underflow = keep * eta * (shrinks ? shrink.by * (roundings + 4 + count * size) : roundings + 4);
      this.#rounded[e] = SECOND_ORDER * (u * (sums + products + 3 * result) + sumError * result) + underflow;
      bound[e] = shifted + this.#rounded[e];
    }
  }

  /**
   * Σ over the keys of the largest partial sum of P·V that may end there, plus one for each rescaling of O and for
   * each block of 64 keys that is added as a whole.
   */
  #partialSums(V: Float64Array, E: number): Float64Array {
    const { count, key } = this.scores;
    const { p, rescales } = this.weights;
    const nodes = this.#nodes;
    const run = this.#run;
    for (let e = 0; e < E; e++) {
      run.clear();
      for (let n = 0; n < count; n++) {
        const weight = p[n] * this.#kept[key[n]];
        // V of a key without weight doesn't count, whatever it holds.
        run.add(weight === 0 ? 0 : weight * V[key[n] * E + e]);
      }
      nodes[e] = run.nodes + (rescales + Math.ceil(count / 64)) * run.largest;
    }
    return nodes;
  }

  #lse({ problem, b, h }: Head, i: number): number {
    const { semantics, alibiSlopes, offset, H } = problem;
    const { weights } = this;
    const { u } = this.#arithmetic;
    if (!semantics.lseIncludesSink && this.scores.count === 0) return 0;
    let error = semantics.lseIncludesSink ? weights.lseError : weights.lseKeysError;
    if (semantics.alibi === "distance-raw" && alibiSlopes !== null) {
      const shift = alibiSlopes[b * H + h] * (i + offset[b]);
      error += u * 4 * (Math.abs(shift) + Math.abs(weights.m));
    }
    // lse·log2e: the constant and the product.
    if (semantics.lseBase === "2") {
      const size = Math.abs(weights.m) + Math.abs(Math.log2(weights.l));
      error = LOG2E * (error + 2 * u * size);
    }
    return error;
  }
}

const LOG2E = 1.4426950408889634;
