/**
 * From errors of the scores to errors of the weights of one row (docs/error-bounds.md §5):
 *
 *   ŵ_j = w_j·e^θ_j,  |θ_j| ≤ δ_j,   w_j = exp(x_j − m)        plus what underflows
 *
 * and from there to lse. A factor that all weights share cancels in O, so the maximum that the implementation really
 * used may be any number near m; what it costs is the rounding of x_j − m.
 */
import { exp, expm1, log, log1p } from "../reference/math.ts";
import type { Arithmetic } from "./arithmetic.ts";
import { type RowScores, SECOND_ORDER } from "./rowscores.ts";

/** In place of ∞, so that a difference of 0 stays 0; any mean of V is nearer than this. */
const HUGE = 2 ** 1000;

export class RowWeights {
  /** max x, Σ w (with the sink in both, if there is one) and the same without the sink. */
  m = -Infinity;
  l = 0;
  mKeys = -Infinity;
  lKeys = 0;
  /** w_j/l, and the most that |ŵ_j − w_j|/l̂ can be. */
  readonly p: Float64Array;
  readonly change: Float64Array;
  /** The same of the sink. */
  sinkP = 0;
  sinkChange = 0;
  /** Rounding of the sum l, relative. */
  sumError = 0;
  /** Times that O and l may have been rescaled. */
  rescales = 0;
  /** |lse without and with the sink − exact|, natural units, before the result is rounded to its format. */
  lseKeysError = 0;
  lseError = 0;
  readonly #delta: Float64Array;
  readonly #grew: Uint32Array;

  constructor(M: number) {
    this.p = new Float64Array(M);
    this.change = new Float64Array(M);
    this.#delta = new Float64Array(M);
    this.#grew = new Uint32Array(M + 1);
  }

  /** `error` holds Δ_j; sink is −∞ where there is none. The row has at least one key or a sink. */
  read(row: RowScores, error: Float64Array, sink: number, arithmetic: Arithmetic): void {
    const { count, x, key } = row;
    const { u } = arithmetic;
    let top = -Infinity;
    let high = -Infinity;
    let low = -Infinity;
    for (let n = 0; n < count; n++) {
      top = Math.max(top, x[n]);
      high = Math.max(high, x[n] + error[n]);
      low = Math.max(low, x[n] - error[n]);
    }
    this.mKeys = top;
    this.m = Math.max(top, sink);
    // How far the computed maximum may be from the exact one.
    const shift = count === 0 ? 0 : Math.max(high - top, top - low, 0);
    const lag = this.#rescaling(row, error, high, arithmetic);

    // The oracle subtracts the maximum of keys and sink; to the kernels a sink comes at the end.
    const from = arithmetic.name === "float64" ? this.m : top;
    const delta = this.#delta;
    let lKeys = 0;
    for (let n = 0; n < count; n++) {
      const rescales = this.#grew[key[n] / arithmetic.tile | 0];
      delta[n] = error[n] + SECOND_ORDER * u * (
            3 * (from - x[n] + error[n] + shift + 2 * lag) + arithmetic.exp + rescales * (arithmetic.exp + 2)
          );
      this.p[n] = exp(x[n] - top);
      lKeys += this.p[n];
    }
    this.lKeys = lKeys;
    this.l = (lKeys === 0 ? 0 : lKeys * exp(top - this.m)) + (sink === -Infinity ? 0 : exp(sink - this.m));
    this.#sumError(row, arithmetic);

    // Where the softmax of the keys alone is reported, the sink changes nothing in it.
    this.lseKeysError = this.#lse(row, top, lKeys, -Infinity, 0, lag, arithmetic);
    const apart = count === 0 ? 0 : Math.abs(sink - top) + shift + lag;
    const sinkDelta = sink === -Infinity
      ? 0
      : SECOND_ORDER * u * (2 * Math.abs(sink) + 3 * apart + arithmetic.exp);
    this.lseError = sink === -Infinity
      ? this.lseKeysError
      : this.#lse(row, this.m, this.l, sink, sinkDelta, lag, arithmetic);

    const sinkWeight = sink === -Infinity ? 0 : exp(sink - this.m);
    const scale = exp(top - this.m);
    let least = sinkWeight * exp(-sinkDelta);
    for (let n = 0; n < count; n++) {
      this.p[n] *= scale;
      least += this.p[n] * exp(-delta[n]);
    }
    for (let n = 0; n < count; n++) {
      const change = (grown(x[n] - this.m, this.p[n], delta[n]) + arithmetic.least) / least;
      this.change[n] = Math.min(change, HUGE);
      this.p[n] /= this.l;
    }
    this.sinkP = sinkWeight / this.l;
    this.sinkChange = sinkWeight === 0
      ? 0
      : Math.min((grown(sink - this.m, sinkWeight, sinkDelta) + arithmetic.least) / least, HUGE);
  }

  /** Counts for each tile how often O may be rescaled behind it; returns the lag that is possible. */
  #rescaling(
    { count, x, key }: RowScores,
    error: Float64Array,
    high: number,
    { tile, split, lag }: Arithmetic,
  ): number {
    const later = this.#grew;
    const last = count === 0 ? 0 : key[count - 1] / tile | 0;
    later.fill(0, 0, last + 1);
    let low = -Infinity;
    let first = NaN;
    for (let n = 0; n < count;) {
      const at = key[n] / tile | 0;
      let tileLow = -Infinity;
      let tileHigh = -Infinity;
      for (; n < count && (key[n] / tile | 0) === at; n++) {
        tileLow = Math.max(tileLow, x[n] - error[n]);
        tileHigh = Math.max(tileHigh, x[n] + error[n]);
      }
      if (first !== first) first = tileLow;
      else if (tileHigh > low) later[at] = 1;
      low = Math.max(low, tileLow);
    }
    // The last tile that may grow and all before it: each rescaling raises the maximum by more than the lag.
    const most = lag === 0 || count === 0 ? Infinity : 1 + Math.floor((high - first) / lag);
    const splits = count === 0 ? 0 : Math.ceil((key[count - 1] + 1) / split);
    let behind = 0;
    for (let at = last; at >= 0; at--) {
      const here = later[at];
      // A state that is merged is rescaled then, and perhaps at every merge that follows.
      const merges = splits > 1 ? splits - Math.floor(at * tile / split) : 0;
      later[at] = Math.min(behind, most) + merges;
      behind += here;
    }
    this.rescales = Math.min(behind, most) + (splits > 1 ? splits : 0);
    return count === 0 ? 0 : Math.min(lag, Math.max(0, high - first));
  }

  /** Σ of the partial sums that l goes through, relative to l: within a tile, then from tile to tile. */
  #sumError({ count, key }: RowScores, { u, tile, depth }: Arithmetic): void {
    let sum = 0;
    let nodes = 0;
    let tiles = 0;
    for (let n = 0; n < count; n++) {
      sum += this.p[n];
      if (n + 1 < count && (key[n] / tile | 0) === (key[n + 1] / tile | 0)) continue;
      if (++tiles > 1) nodes += sum;
    }
    // The sink is one more addition.
    const additions = Math.min(count, depth) + (count === 0 ? 0 : nodes / sum) + this.rescales + 1;
    this.sumError = SECOND_ORDER * u * additions;
  }

  #lse(
    { count, x }: RowScores,
    m: number,
    l: number,
    sink: number,
    sinkDelta: number,
    lag: number,
    { u, ln, join, least }: Arithmetic,
  ): number {
    const delta = this.#delta;
    let up = sink === -Infinity ? 0 : grown(sink - m, exp(sink - m), sinkDelta);
    let down = sink === -Infinity ? 0 : -exp(sink - m) * expm1(-sinkDelta);
    let most = sink + sinkDelta > m - 800 ? sinkDelta : 0;
    for (let n = 0; n < count; n++) {
      const w = exp(x[n] - m);
      up += grown(x[n] - m, w, delta[n]) + least;
      down -= w * expm1(-delta[n]);
      // Keys too far away to count, at their largest, don't count in the maximum.
      if (x[n] + delta[n] > m - 800) most = Math.max(most, delta[n]);
    }
    // ln Σŵ moves by no more than the largest δ, but for what underflows.
    const spread = Math.min(
      Math.max(log1p(up / l), -log1p(-Math.min(1, down / l))),
      most + count * least / l,
    );
    return spread + this.sumError + SECOND_ORDER * u * (
          ln * (Math.abs(log(l)) + lag) + join * (Math.abs(m) + lag) + Math.abs(m + log(l))
        );
  }
}

/** e^(x + δ) − e^x, where w = e^x, without losing digits or making ∞·0. */
function grown(x: number, w: number, delta: number): number {
  return delta < 1 ? w * expm1(delta) : exp(x + delta) - w;
}
