/**
 * Attention step by step, as ONNX's function body spells it out, in an arithmetic that is given: every intermediate
 * tensor is an enclosure [lo, hi]. In exact arithmetic lo and hi are one array and this is the oracle with its steps
 * laid open; in another it bounds what an evaluation in that arithmetic may give.
 *
 *   raw = (√s·Q)(√s·K)ᵀ → capped = c·tanh(raw/c) → biased = capped + bias, −∞ where masked
 *   P = softmax(biased) → O = P·V
 *
 * Q [B,H,N,D], scores and P [B,H,N,M], O [B,H,N,E]. 4·B·H·N·M·(D + E) flops; 16 bytes a score.
 */
import type { Problem } from "../problem.ts";
import { keyRange } from "../problem.ts";
import { type Head, heads } from "../reference/heads.ts";
import { exp, tanh } from "../reference/math.ts";
import { sizeOf } from "../tensor.ts";
import { above, type Arithmetic, below, type Evaluation, gamma, UNROUNDED } from "./evaluations.ts";
import type { Range } from "./node.ts";

/** How far the scores are computed. */
export type Stage = "raw" | "capped" | "biased";

/** A range to fill; one array if the arithmetic is exact and so are the inputs. */
export function emptyRange(shape: readonly number[], exact: boolean): Range {
  const lo = new Float64Array(sizeOf(shape));
  return { shape, lo, hi: exact ? lo : new Float64Array(lo.length) };
}

/** Is the element wise ambiguity of this arithmetic nil? */
export function isExact(arithmetic: Arithmetic): boolean {
  return arithmetic.u === 0;
}

/** The scores of all heads, [B,H,N,M]. */
export function scoreSteps(problem: Problem, arithmetic: Arithmetic, stage: Stage): Range {
  const { B, H, N, M } = problem;
  const x = emptyRange([B, H, N, M], isExact(arithmetic));
  for (const head of heads(problem)) {
    const { b, h } = head;
    const dots = dotProducts(head, arithmetic);
    for (let i = 0; i < N; i++) {
      const { lo, hi } = stage === "biased" ? keyRange(problem, b, h, i) : { lo: 0, hi: M };
      const row = ((b * H + h) * N + i) * M;
      for (let j = 0; j < M; j++) {
        const added = stage !== "biased" ? 0 : j < lo || j >= hi ? -Infinity : bias(head, i, j);
        if (added === -Infinity) {
          x.lo[row + j] = x.hi[row + j] = -Infinity;
          continue;
        }
        dots(i, j);
        if (stage !== "raw" && problem.softcap > 0) cap(problem.softcap, arithmetic);
        if (stage === "biased" && head.bias !== null) round(arithmetic, ends[0] + added, ends[1] + added);
        x.lo[row + j] = ends[0];
        x.hi[row + j] = ends[1];
      }
    }
  }
  return x;
}

/** The ends of the interval that is being worked on. */
const ends = new Float64Array(2);

/** An operation's exact result lies between lo and hi: what it may be rounded to. */
function round({ result, narrow, u }: Arithmetic, lo: number, hi: number): void {
  ends[0] = result.down(narrow ? below(lo, u) : lo);
  ends[1] = result.up(narrow ? above(hi, u) : hi);
}

/** The same of exp, tanh or log. */
function roundFunction({ result, fn }: Arithmetic, lo: number, hi: number): void {
  ends[0] = result.down(below(lo, fn));
  ends[1] = result.up(above(hi, fn));
}

function cap(softcap: number, arithmetic: Arithmetic): void {
  const c = arithmetic.narrow ? arithmetic.result.down(softcap) : softcap;
  round(arithmetic, ends[0] / c, ends[1] / c);
  roundFunction(arithmetic, tanh(ends[0]), tanh(ends[1]));
  round(arithmetic, c * ends[0], c * ends[1]);
}

function bias({ mask, bias }: Head, i: number, j: number): number {
  if (mask !== null && mask(i, j) === 0) return -Infinity;
  return bias === null ? 0 : bias(i, j);
}

/**
 * (i, j) → ends of (√s·q_i)·(√s·k_j). A wide arithmetic rounds √s twice over, both products and the sum: an error of
 * 4u + γ_D of s·Σ|q||k|. A narrow one rounds √s·q and √s·k to 16 bits, which is known exactly, and then the sum.
 */
function dotProducts({ problem, Q, K }: Head, arithmetic: Arithmetic): (i: number, j: number) => void {
  const { D, scale } = problem;
  const { u, narrow, result } = arithmetic;
  const root = result.down(Math.sqrt(scale));
  const scaled = narrow
    ? (x: Float64Array) => x.map((value) => result.down(root * value))
    : (x: Float64Array) => x;
  const q = scaled(Q);
  const k = scaled(K);
  const factor = narrow ? 1 : scale;
  const error = isExact(arithmetic) ? 0 : gamma(D, u) + (narrow ? 0 : 4 * u);
  return (i, j) => {
    let sum = 0;
    let mass = 0;
    for (let d = 0; d < D; d++) {
      const term = q[i * D + d] * k[j * D + d];
      sum += term;
      mass += Math.abs(term);
    }
    const slack = error === 0 ? 0 : error * factor * mass;
    ends[0] = result.down(factor * sum - slack);
    ends[1] = result.up(factor * sum + slack);
  };
}

/** One row of a softmax: elements start, start + step, … */
export interface Row {
  readonly start: number;
  readonly step: number;
  readonly count: number;
}

/**
 * Softmax of one row of x into P: m = max x, e = exp(x − m), P = e/Σe, each step rounded. An element of −∞ has P = 0
 * and takes no part; so a row without any gives zeros.
 *
 * @param sink A logit that only the sum sees; −∞ is none.
 */
export function softmaxRow(x: Range, P: Range, row: Row, arithmetic: Arithmetic, sink = -Infinity): void {
  const { lo, hi } = x;
  const { start, step, count } = row;
  let mLow = sink;
  let mHigh = sink;
  for (let n = 0, at = start; n < count; n++, at += step) {
    mLow = Math.max(mLow, lo[at]);
    mHigh = Math.max(mHigh, hi[at]);
  }
  // A factor that all terms share cancels in e/Σe, so any m near the one that is really used will do; but where each
  // step ends in 16 bits, what it is rounded to depends on m.
  if (!arithmetic.narrow && mLow < mHigh) mLow = mHigh = mLow + (mHigh - mLow) / 2;
  const sum = new Sum(arithmetic, count);
  if (sink !== -Infinity) {
    exponential(arithmetic, sink, sink, mLow, mHigh);
    sum.add(ends[0], ends[1]);
  }
  const e = emptyRange([count], lo === hi && isExact(arithmetic));
  for (let n = 0, at = start; n < count; n++, at += step) {
    if (hi[at] === -Infinity) continue;
    exponential(arithmetic, lo[at], hi[at], mLow, mHigh);
    e.lo[n] = ends[0];
    e.hi[n] = ends[1];
    sum.add(ends[0], ends[1]);
  }
  const [least, most] = sum.rounded();
  for (let n = 0, at = start; n < count; n++, at += step) {
    if (hi[at] === -Infinity) {
      P.lo[at] = P.hi[at] = 0;
      continue;
    }
    round(arithmetic, e.lo[n] / most, e.hi[n] / least);
    P.lo[at] = Math.max(0, ends[0]);
    // P ≤ 1, for e is one of the terms of the sum.
    P.hi[at] = most === Infinity || ends[1] <= 1 || ends[1] !== ends[1] ? ends[1] : arithmetic.result.up(1);
  }
}

/** exp(x − m), x − m rounded. */
function exponential(arithmetic: Arithmetic, lo: number, hi: number, mLow: number, mHigh: number): void {
  round(arithmetic, lo - mHigh, hi - mLow);
  if (arithmetic.argument) {
    ends[0] = below(ends[0], arithmetic.argument);
    ends[1] = above(ends[1], arithmetic.argument);
  }
  const high = arithmetic.narrow ? Math.min(0, ends[1]) : ends[1];
  const low = exp(Math.min(high, ends[0]));
  roundFunction(arithmetic, low < arithmetic.least ? 0 : low, Math.max(exp(high), arithmetic.least));
  ends[0] = Math.max(0, ends[0]);
}

/** Σ of non-negative terms. */
class Sum {
  #lo = 0;
  #hi = 0;
  /** Rounded after every term, as a 16-bit accumulator is. */
  #stepLo = 0;
  #stepHi = 0;
  readonly #arithmetic: Arithmetic;
  readonly #error: number;

  constructor(arithmetic: Arithmetic, count: number) {
    this.#arithmetic = arithmetic;
    this.#error = gamma(count + 1, arithmetic.u);
  }

  add(lo: number, hi: number): void {
    this.#lo += lo;
    this.#hi += hi;
    if (!this.#arithmetic.narrow) return;
    round(this.#arithmetic, this.#stepLo + lo, this.#stepHi + hi);
    this.#stepLo = ends[0];
    this.#stepHi = ends[1];
  }

  rounded(): [lo: number, hi: number] {
    const { narrow, u } = this.#arithmetic;
    round(this.#arithmetic, this.#lo * (1 - this.#error), this.#hi * (1 + this.#error));
    // In an arithmetic of our own, rounded once.
    if (!narrow || u === 0) return [ends[0], ends[1]];
    return [Math.min(ends[0], this.#stepLo), Math.max(ends[1], this.#stepHi)];
  }
}

/** P = softmax over the keys of scores [B,H,N,M], with the sinks of the problem, cast to and fro. */
export function softmaxSteps(problem: Problem, scores: Range, { cast, softmax, weights }: Evaluation): Range {
  const { B, H, N, M, sink } = problem;
  const x = cast === UNROUNDED ? scores : mapRange(scores, cast.down, cast.up);
  const P = emptyRange(x.shape, x.lo === x.hi && isExact(softmax));
  for (let row = 0; row < B * H * N; row++) {
    const logit = sink === null ? -Infinity : sink[Math.floor(row / N) % H];
    softmaxRow(x, P, { start: row * M, step: 1, count: M }, softmax, logit);
  }
  return weights === UNROUNDED ? P : mapRange(P, weights.down, weights.up);
}

/** O = P·V, [B,H,N,E]: γ_M of Σ P|v| and the rounding of the result. A weight of 0 takes no part. */
export function outputSteps(problem: Problem, P: Range, { values, output: arithmetic }: Evaluation): Range {
  const { B, H, N, M, E } = problem;
  const exact = P.lo === P.hi && isExact(arithmetic);
  const O = emptyRange([B, H, N, E], exact);
  const error = isExact(arithmetic) ? 0 : gamma(M, arithmetic.u);
  const mass = new Float64Array(E);
  for (const { b, h, V: stored } of heads(problem)) {
    const V = values === UNROUNDED ? stored : stored.map(values.down);
    for (let i = 0; i < N; i++) {
      const row = ((b * H + h) * N + i) * M;
      const out = ((b * H + h) * N + i) * E;
      mass.fill(0);
      for (let j = 0; j < M; j++) {
        const low = P.lo[row + j];
        const high = P.hi[row + j];
        if (low === 0 && high === 0) continue;
        for (let c = 0; c < E; c++) {
          const v = V[j * E + c];
          O.lo[out + c] += v < 0 ? high * v : low * v;
          if (!exact) O.hi[out + c] += v < 0 ? low * v : high * v;
          mass[c] += Math.max(Math.abs(low), Math.abs(high)) * Math.abs(v);
        }
      }
      for (let c = 0; c < E; c++) {
        const slack = error === 0 ? 0 : error * mass[c];
        O.lo[out + c] = arithmetic.result.down(O.lo[out + c] - slack);
        if (!exact) O.hi[out + c] = arithmetic.result.up(O.hi[out + c] + slack);
      }
    }
  }
  return O;
}

/** Both ends of each element through monotone functions. */
export function mapRange(
  { shape, lo, hi }: Range,
  down: (x: number) => number,
  up: (x: number) => number,
): Range {
  const mapped = lo.map(down);
  return { shape, lo: mapped, hi: lo === hi && down === up ? mapped : hi.map(up) };
}

/** [B,H,N,E] → the order of memory of [B,N,H,E]. */
export function toBnhd({ shape, lo, hi }: Range): Range {
  const [B, H, N, E] = shape;
  const turn = (x: Float64Array) => {
    const y = new Float64Array(x.length);
    for (let b = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        for (let i = 0; i < N; i++) {
          const from = ((b * H + h) * N + i) * E;
          y.set(x.subarray(from, from + E), ((b * N + i) * H + h) * E);
        }
      }
    }
    return y;
  };
  const turned = turn(lo);
  return { shape: [B, N, H, E], lo: turned, hi: lo === hi ? turned : turn(hi) };
}
