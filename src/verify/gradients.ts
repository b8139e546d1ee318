/**
 * How far computed gradients may lie from exact ones: a bound for each element (docs/error-bounds.md §7).
 *
 *   P = exp(x − lse)   D = Σ_e dO·O   dS = P∘(dO·Vᵀ − D) + P·dlse   dQ = σ·dS·K   dK = σ·dSᵀ·Q   dV = Pᵀ·dO
 *
 * The backward pass starts from the O and lse of a forward pass in the same arithmetic, so their bounds come first.
 * Each line takes the errors of what it reads; sums of n terms add n·u of the sum of the terms' sizes. Cost:
 * 2·B·H·N·M·(18·D + 12·E) flops; scratch as large as the gradients of one head.
 */
import type { BackwardProblem } from "../gradients.ts";
import { dropRow } from "../reference/dropout.ts";
import { type Head, heads } from "../reference/heads.ts";
import { exp, expm1 } from "../reference/math.ts";
import { sinkOf } from "../reference/row.ts";
import { biasSlope } from "../reference/scores.ts";
import { placeGradients, placeLse, type Placement, placeOut } from "../result.ts";
import { broadcast, rowMajor, sizeOf, toFloat64 } from "../tensor.ts";
import type { Arithmetic } from "./arithmetic.ts";
import { RowBounds } from "./bounds.ts";
import { RowScores, SECOND_ORDER } from "./rowscores.ts";
import { DotNodes } from "./sums.ts";

/** Bounds in the places of the results; dBias in the bias's own shape, null without a bias. */
export interface GradientBounds {
  readonly dq: Float64Array;
  readonly dk: Float64Array;
  readonly dv: Float64Array;
  readonly dBias: Float64Array | null;
  readonly dSink: Float64Array;
}

/** Bounds of |computed − exact| for a forward and a backward pass in each arithmetic, added up. */
export function gradientBounds(task: BackwardProblem, ...arithmetics: readonly Arithmetic[]): GradientBounds {
  const different = [...new Set(arithmetics)];
  const all = different.map((arithmetic) => new Backward(task, arithmetic).bounds());
  const weights = different.map((one) => arithmetics.filter((same) => same === one).length);
  const total = (pick: (bounds: GradientBounds) => Float64Array) => {
    const sum = pick(all[0]).map((bound) => bound * weights[0]);
    for (let n = 1; n < all.length; n++) pick(all[n]).forEach((bound, x) => sum[x] += bound * weights[n]);
    return sum;
  };
  return {
    dq: total(({ dq }) => dq),
    dk: total(({ dk }) => dk),
    dv: total(({ dv }) => dv),
    dBias: all[0].dBias && total(({ dBias }) => dBias!),
    dSink: total(({ dSink }) => dSink),
  };
}

class Backward {
  readonly #task: BackwardProblem;
  readonly #arithmetic: Arithmetic;
  readonly #row: RowBounds;
  readonly #dO: Float64Array;
  readonly #dLse: Float64Array | null;
  readonly #outBound: Float64Array;
  readonly #kept: Float64Array;
  /** dP of each key of a row, and its error. */
  readonly #dP: Float64Array;
  readonly #dPError: Float64Array;
  readonly #dot = new DotNodes();

  constructor(task: BackwardProblem, arithmetic: Arithmetic) {
    const { problem, dOut, dLse } = task;
    this.#task = task;
    this.#arithmetic = arithmetic;
    this.#row = new RowBounds(problem, new RowScores(problem.M), arithmetic);
    this.#dO = toFloat64(dOut);
    this.#dLse = dLse && toFloat64(dLse);
    this.#outBound = new Float64Array(problem.E);
    this.#kept = new Float64Array(problem.M);
    this.#dP = new Float64Array(problem.M);
    this.#dPError = new Float64Array(problem.M);
  }

  bounds(): GradientBounds {
    const { problem, biasShape } = this.#task;
    const { D, E, group, H } = problem;
    const at = placeGradients(problem);
    const dq = new Float64Array(sizeOf(at.q.shape));
    const dk = new Float64Array(sizeOf(at.k.shape));
    const dv = new Float64Array(sizeOf(at.v.shape));
    const dSink = new Float64Array(H);
    const dBias = biasShape && new Float64Array(sizeOf(biasShape));
    const addBias = dBias && this.#biasAdder(dBias, biasShape!);
    for (const head of heads(problem)) {
      const { b, h, N, stored } = head;
      const dQ = new Float64Array(N * D);
      const dK = new Float64Array(stored * D);
      const dV = new Float64Array(stored * E);
      this.#row.enter(head);
      for (let i = 0; i < N; i++) dSink[h] += this.#query(head, i, dQ, dK, dV, addBias);
      place(dQ, D, dq, at.q, b, h);
      place(dK, D, dk, at.k, b, Math.floor(h / group));
      place(dV, E, dv, at.v, b, Math.floor(h / group));
    }
    return { dq, dk, dv, dBias, dSink };
  }

  /** Adds the errors of row i; returns that of dSink. */
  #query(
    head: Head,
    i: number,
    dQ: Float64Array,
    dK: Float64Array,
    dV: Float64Array,
    addBias: ((head: Head, i: number, j: number, error: number, size: number) => void) | null,
  ): number {
    const { problem, N, Q, K, stored } = head;
    const { D, E, group, scale, semantics, B } = problem;
    const { u, eta, exp: expError, least, join } = this.#arithmetic;
    const row = this.#row;
    const { scores, weights, error: scoreError } = row;
    const sink = sinkOf(head);
    const { dO, dLse } = this.#gradients(head, i);
    scores.read(head, i);
    row.read(head, i, this.#outBound);
    // Sums over queries run through the group's heads too.
    const overQueries = (N * group + 4) * u;
    if (scores.count === 0 && sink === -Infinity) {
      if (semantics.emptyRow === "mean") {
        for (let j = 0; j < stored; j++) {
          for (let e = 0; e < E; e++) dV[j * E + e] += (overQueries + 3 * u) * Math.abs(dO[e]) / stored;
        }
      }
      return 0;
    }
    const L = weights.m + Math.log(weights.l);
    const lseError = Math.max(weights.lseError, scores.count === 0 ? 0 : weights.lseKeysError) +
      u * (6 * Math.abs(L) + 2 * expError);
    // Where lse leaves the sink out, its gradient enters with a softmax of its own.
    const apart = dLse !== 0 && !semantics.lseIncludesSink && sink !== -Infinity;
    const L_keys = weights.mKeys + Math.log(weights.lKeys);
    const lseKeysError = weights.lseKeysError + u * (6 * Math.abs(L_keys) + 2 * expError);
    // l ≥ 1, and where m + ln l is rounded once, lse ≥ m: then P ≤ 1 even if all of ln l is lost in lse.
    const most = join === 0 ? 1 : Infinity;

    const kept = this.#kept.fill(1);
    dropRow(head, i, 0, kept);
    const dropped = problem.dropout === null ? 0 : 2;
    const overKeys = (scores.count + 4) * u;
    const D_i = this.#rowSum(head, dO, dropped);
    const D_error = this.#rowSumError(dO, D_i, sink);
    for (let n = 0; n < scores.count; n++) {
      const j = scores.key[n];
      const Z = kept[j];
      const x = scores.x[n];
      const P = weights.p[n];
      const change = (P: number, below: number, lseError: number) => {
        const theta = scoreError[n] + lseError +
          SECOND_ORDER * u * (3 * (Math.abs(below) + scoreError[n] + lseError) + expError);
        return Math.min(theta < 1 ? P * expm1(theta) : exp(below + theta) - P, most) + least;
      };
      const P_error = change(P, x - L, lseError);
      for (let e = 0; e < E; e++) {
        dV[j * E + e] += Z * Math.abs(dO[e]) * (P_error + (overQueries + dropped * u) * P) + eta;
      }
      const t = this.#dP[n] - D_i;
      const tError = D_error + this.#dPError[n] + u * (Math.abs(t) + Math.abs(dLse));
      const P_keys = apart ? exp(x - weights.mKeys) / weights.lKeys : P;
      const keysError = apart ? change(P_keys, x - L_keys, lseKeysError) : P_error;
      const dS = P * t + P_keys * dLse;
      const dSError = P_error * (Math.abs(t) + tError) + keysError * Math.abs(dLse) + P * tError +
        3 * u * (P * Math.abs(t) + P_keys * Math.abs(dLse)) + eta;
      addBias?.(head, i, j, dSError, Math.abs(dS));
      const derivative = scores.derivative[n];
      const ds = Math.abs(scale * derivative * dS);
      const dsError = Math.abs(scale) *
          (scores.derivativeError[n] * (Math.abs(dS) + dSError) + derivative * dSError) + 3 * u * ds + eta;
      for (let d = 0; d < D; d++) {
        const k = Math.abs(K[j * D + d]);
        const q = Math.abs(Q[i * D + d]);
        dQ[i * D + d] += (dsError + overKeys * ds + eta) * k + eta;
        dK[j * D + d] += (dsError + overQueries * ds + eta) * q + eta;
      }
    }
    if (sink === -Infinity) return 0;
    const P = weights.sinkP;
    const theta = lseError + u * (3 * (Math.abs(sink - L) + lseError) + 2 * Math.abs(sink) + expError);
    const P_error = Math.min(theta < 1 ? P * expm1(theta) : exp(sink - L + theta) - P, most) + least;
    const size = Math.abs(D_i) + (semantics.lseIncludesSink ? Math.abs(dLse) : 0);
    return P_error * (size + D_error) + P * D_error + (B * N + 4) * u * P * size;
  }

  /** D = Σ_e dO·O; on the way dP_j = Σ_e dO·v_j·keep/(1 − p) of each key, and its error. */
  #rowSum({ problem, V }: Head, dO: Float64Array, dropped: number): number {
    const { u, eta } = this.#arithmetic;
    const { scores, o } = this.#row;
    const { E } = problem;
    const dot = this.#dot;
    for (let n = 0; n < scores.count; n++) {
      const Z = this.#kept[scores.key[n]];
      dot.read(dO, 0, V, scores.key[n] * E, E);
      this.#dP[n] = Z * dot.sum;
      this.#dPError[n] = Z * u * (dot.nodes + (1 + dropped) * dot.mass) + E * eta;
    }
    dot.read(dO, 0, o, 0, E);
    return dot.sum;
  }

  /**
   * The error of O reaches D through dO·(ô − o) = Σ_j (ŵ_j − w_j)(dP_j − D)/Σŵ, where it mostly cancels; what O and D
   * round does not.
   */
  #rowSumError(dO: Float64Array, D_i: number, sink: number): number {
    const { u, eta } = this.#arithmetic;
    const { scores, weights, o, rounded } = this.#row;
    const E = dO.length;
    let moved = sink === -Infinity ? 0 : weights.sinkChange * Math.abs(D_i);
    for (let n = 0; n < scores.count; n++) moved += weights.change[n] * Math.abs(this.#dP[n] - D_i);
    let widest = 0;
    let rest = 0;
    for (let e = 0; e < E; e++) {
      widest += Math.abs(dO[e]) * this.#outBound[e];
      rest += Math.abs(dO[e]) * rounded[e];
    }
    this.#dot.read(dO, 0, o, 0, E);
    const { nodes, mass } = this.#dot;
    return Math.min(moved + rest, widest) + SECOND_ORDER * u * (nodes + 2 * mass) + E * eta;
  }

  #gradients({ problem, b, h }: Head, i: number): { dO: Float64Array; dLse: number } {
    const outAt = placeOut(problem);
    const lseAt = placeLse(problem);
    const start = outAt.base[b] + h * outAt.head + i * outAt.row;
    const unit = problem.semantics.lseBase === "2" ? 1.4426950408889634 : 1;
    return {
      dO: this.#dO.subarray(start, start + problem.E),
      dLse: this.#dLse === null ? 0 : unit * this.#dLse[lseAt.base[b] + h * lseAt.head + i * lseAt.row],
    };
  }

  #biasAdder(bounds: Float64Array, shape: readonly number[]) {
    const { B, H, N, M } = this.#task.problem;
    const own = { data: bounds, dtype: "float64" as const, shape, strides: rowMajor(shape), offset: 0 };
    const [batch, at, row, column] = broadcast("dBias", own, [B, H, N, M], "[B,H,N,M]").strides;
    const terms = B * H * N * M / Math.max(1, bounds.length);
    const { u } = this.#arithmetic;
    return (head: Head, i: number, j: number, error: number, size: number) => {
      const slope = Math.abs(biasSlope(head));
      bounds[head.b * batch + head.h * at + i * row + j * column] += slope * (error + (terms + 2) * u * size);
    };
  }
}

/** Adds the rows of one head where the layout has them. */
function place(
  source: Float64Array,
  width: number,
  target: Float64Array,
  { base, head, row }: Placement,
  b: number,
  h: number,
): void {
  for (let x = 0; x < source.length; x++) {
    target[base[b] + h * head + Math.floor(x / width) * row + x % width] += source[x];
  }
}
