/**
 * One row of scores with what their rounding errors depend on, and the bound of those errors in a given arithmetic
 * (docs/error-bounds.md §4):
 *
 *   x = cap·tanh(σ⟨q, k⟩/cap) + ALiBi + bias         |x̂_j − x_j| ≤ Δ_j
 *
 * Only keys that the row may see are listed. Cost: about 30·D flops a score.
 */
import { alibi, biasSlope, scores } from "../reference/scores.ts";
import type { Head } from "../reference/heads.ts";
import { tanh } from "../reference/math.ts";
import type { Arithmetic } from "./arithmetic.ts";
import { DotNodes } from "./sums.ts";

/** Scratch for one row; the first `count` elements hold. */
export class RowScores {
  count = 0;
  /** Which key; its score x; what it was before softcap, ALiBi and bias. */
  readonly key: Int32Array;
  readonly x: Float64Array;
  readonly raw: Float64Array;
  /** Σ|q_d k_d|; Σ |partial sums| of Σ q_d k_d. */
  readonly mass: Float64Array;
  readonly nodes: Float64Array;
  /** dx/draw of the softcap, and its error: written by `errors`. */
  readonly derivative: Float64Array;
  readonly derivativeError: Float64Array;
  /** What ALiBi and the bias add. */
  readonly slope: Float64Array;
  readonly bias: Float64Array;
  readonly #all: Float64Array;
  readonly #dot = new DotNodes();

  constructor(M: number) {
    this.key = new Int32Array(M);
    this.x = new Float64Array(M);
    this.raw = new Float64Array(M);
    this.mass = new Float64Array(M);
    this.nodes = new Float64Array(M);
    this.derivative = new Float64Array(M);
    this.derivativeError = new Float64Array(M);
    this.slope = new Float64Array(M);
    this.bias = new Float64Array(M);
    this.#all = new Float64Array(M);
  }

  /** Fills in row i of `head`. */
  read(head: Head, i: number): void {
    const { problem, M, Q, K } = head;
    const { D } = problem;
    const all = this.#all;
    const dot = this.#dot;
    scores(head, i, 0, M, all);
    let count = 0;
    for (let j = 0; j < M; j++) {
      if (all[j] === -Infinity) continue;
      dot.read(Q, i * D, K, j * D, D);
      this.key[count] = j;
      this.x[count] = all[j];
      this.raw[count] = problem.scale * dot.sum;
      this.mass[count] = dot.mass;
      this.nodes[count] = dot.nodes;
      this.slope[count] = alibi(head, i, j);
      this.bias[count] = head.bias === null ? 0 : biasSlope(head) * head.bias(i, j);
      count++;
    }
    this.count = count;
  }

  /** Writes Δ_j of row i, the one that was read, into `error`; also the softcap's derivative and its error. */
  errors(head: Head, i: number, arithmetic: Arithmetic, error: Float64Array): void {
    const { problem } = head;
    const { D, scale, softcap, semantics } = problem;
    const { u, eta, max, halve } = arithmetic;
    const size = Math.abs(scale);
    // Inputs wider than the arithmetic are rounded on the way in.
    const wide = u > FLOAT64_ROUNDOFF;
    const inputs = (wide && problem.q.dtype === "float64" ? 1 : 0) +
      (wide && problem.k.dtype === "float64" ? 1 : 0);
    // The bias joins in natural units, so it is rounded only where a slope multiplies it.
    const biasRoundings = (wide && problem.bias?.dtype === "float64" ? 1 : 0) +
      (semantics.alibi === "bias" ? 1 : 0);
    // A causal kernel that adds slope·j works with scores that are larger by slope·p.
    const { alibiSlopes, offset, H } = problem;
    const shift = alibiSlopes !== null && semantics.alibi === "distance-raw"
      ? Math.abs(alibiSlopes[head.b * H + head.h] * (i + offset[head.b]))
      : 0;
    const capLast = semantics.softcap === "after-alibi";
    for (let n = 0; n < this.count; n++) {
      const raw = this.raw[n];
      const mass = this.mass[n];
      const added = this.slope[n];
      const bias = this.bias[n];
      // The products, their sum and what underflows; then σ and its product with the sum.
      let e = size * (u * ((1 + inputs) * mass + this.nodes[n]) + D * eta) + u * 2 * Math.abs(raw) + eta;
      const halved = size < halve.from && mass < Infinity;
      if (halved) e += size * D * eta * halve.by;
      else if (mass > max) e = Infinity;
      let x = raw;
      if (capLast && added !== 0) {
        x += added;
        e += u * (2 * Math.abs(added) + Math.abs(x));
      }
      this.derivative[n] = 1;
      this.derivativeError[n] = 0;
      if (softcap > 0) {
        e += 2 * u * Math.abs(x);
        const t = tanh(x / softcap);
        // 1 − t², where t is off by e/cap and by what tanh itself rounds.
        const off = Math.min(2, e / softcap + u * (arithmetic.tanh + 3) * Math.abs(t));
        this.derivative[n] = 1 - t * t;
        this.derivativeError[n] = (2 * Math.abs(t) + off) * off + 3 * u;
        // ∞ − ∞ is no distance from anything.
        const least = Math.abs(x) - e;
        const steepest = least > 0 ? tanh(least / softcap) : 0;
        x = softcap * t;
        e = Math.min(e * (1 - steepest * steepest), 2 * softcap) +
          u * (arithmetic.tanh + 2) * Math.abs(x) + eta * (softcap + 1);
      }
      if (!capLast && added !== 0) {
        e += u * (2 * Math.abs(added) + Math.abs(x + added) + 4 * shift);
      }
      if (head.bias !== null) {
        const first = Math.max(Math.abs(x + bias), Math.abs(added + bias));
        e += u * (biasRoundings * Math.abs(bias) + first + Math.abs(this.x[n]));
      }
      error[n] = e * SECOND_ORDER;
    }
  }
}

const FLOAT64_ROUNDOFF = 2 ** -53;
/** Products of roundings, (1 + u)^n − 1 − n·u < 2^-10·n·u for n·u < 2^-10, and the rounding of this evaluation. */
export const SECOND_ORDER = 1 + 2 ** -10;
