/**
 * The attention of a whole text, prompt and continuation, recomputed by the float64 oracle from the back end's own
 * queries, keys and values, and compared element by element with the bound that docs/error-bounds.md derives for
 * exactly these numbers. Kernels differ between prompt (tiles) and continuation (one query); the bound covers both.
 * Where the model quantises, the bound is that of its precision: of a prompt, not of the tokens one by one behind it.
 */
import { createProblem, type Problem } from "../problem.ts";
import { forward } from "../reference/attention.ts";
import { heads } from "../reference/heads.ts";
import type { Values } from "./implementation.ts";
import type { LanguageModel } from "./languagemodel.ts";
import type { AttentionTrace } from "./trace.ts";
import { quantised } from "../verify/quantisation.ts";
import { FLOAT32, FLOAT64 } from "../verify/arithmetic.ts";
import { RowBounds } from "../verify/bounds.ts";
import { RowScores } from "../verify/rowscores.ts";

export interface AttentionCheck {
  /** Largest |back end − oracle| of all elements, and what it may be there. */
  readonly maxAbs: number;
  readonly bound: number;
  /** Largest error/bound: more than 1, or NaN, is wrong. */
  readonly ratio: number;
  /** Where the largest ratio is. */
  readonly at: { readonly layer: number; readonly head: number; readonly token: number };
  /** Rows (token, layer, head) in all, each of them recomputed, and those whose bound was derived. */
  readonly rows: number;
  readonly bounded: number;
}

/** 4 µs a score, so 4 s; enough for all rows of 360 tokens × 16 heads. */
const BUDGET = 2 ** 20;

export interface CheckOptions {
  /** Scores q·k for which bounds are derived; default 2^20. */
  readonly budget?: number;
  /** Called after each layer with the share that is done. */
  readonly progress?: (done: number) => void;
}

/**
 * Every element of every layer and head is recomputed. The bound costs ten times as much, so that of a long text each
 * block of rows answers with the one that errs most.
 *
 * @param trace Observed everything that `model` has read since it was loaded or reset.
 */
export function checkAttention(
  model: LanguageModel,
  trace: AttentionTrace,
  { budget = BUDGET, progress }: CheckOptions = {},
): AttentionCheck {
  const { layers, heads: H, kvHeads: G, headDim: D } = model.config;
  const tokens = model.length;
  const next = blocks(tokens, layers * H, budget);
  const tensor = (data: Values, rows: number, heads: number) => ({
    data: data.subarray(0, rows * heads * D),
    shape: [1, rows, heads, D],
  });
  const found = { maxAbs: 0, bound: 0, ratio: 0, at: { layer: 0, head: 0, token: 0 }, bounded: 0 };
  for (let layer = 0; layer < layers; layer++) {
    const { k, v } = model.keysAndValues(layer);
    let end = 0;
    for (const { q, out, recipe } of trace.passes(layer)) {
      const N = q.length / (H * D);
      const first = end;
      end += N;
      const problem = createProblem(tensor(q, N, H), tensor(k, end, G), tensor(v, end, G), {
        layout: "bnhd",
        causal: true,
        align: "bottom-right",
        ...(recipe && { precision: recipe }),
      });
      const blockEnd = (i: number) => Math.min(N, next(first + i) - first);
      for (const { head, token, error, bound } of errors(problem, out, blockEnd)) {
        found.bounded++;
        for (let e = 0; e < D; e++) {
          // NaN is beyond every bound, and stays.
          if (!(error[e] <= found.maxAbs)) {
            found.maxAbs = error[e];
            found.bound = bound[e];
          }
          const ratio = error[e] === 0 ? 0 : error[e] / bound[e];
          if (!(ratio <= found.ratio)) {
            found.ratio = ratio;
            found.at = { layer, head, token: first + token };
          }
          if (Number.isNaN(ratio)) return { ...found, rows: layers * H * tokens };
        }
      }
    }
    progress?.((layer + 1) / layers);
  }
  return { ...found, rows: layers * H * tokens };
}

/** A row of a head with the errors of its D elements and their bounds, valid until the next. */
interface RowErrors {
  readonly head: number;
  readonly token: number;
  readonly error: Float64Array;
  readonly bound: Float64Array;
}

/**
 * Where the block of rows that starts at `first` ends: blocks of one row as far as half the budget goes (early rows
 * are cheap and the closest to their bounds), longer ones behind.
 */
function blocks(tokens: number, heads: number, budget: number): (first: number) => number {
  const scores = (rows: number) => heads * rows * rows / 2;
  const single = scores(tokens) <= budget ? tokens : Math.floor(Math.sqrt(budget / heads));
  const step = Math.ceil((scores(tokens) - scores(single)) / (budget / 2));
  return (first) => Math.min(tokens, first < single ? first + 1 : first + step);
}

/** Of each block of rows of each head the one that errs most. */
function* errors(problem: Problem, out: Values, next: (first: number) => number): Generator<RowErrors> {
  const { N, M, H, E } = problem;
  const oracle = forward({ ...problem, precision: null }).out.data as Float64Array;
  // How far the back end's arithmetic may be off, and how far the oracle's.
  const own = out instanceof Float32Array ? FLOAT32 : FLOAT64;
  const arithmetics = [problem.precision === null ? own : quantised(own), FLOAT64];
  const scores = new RowScores(M);
  const analyses = arithmetics.map((arithmetic) => new RowBounds(problem, scores, arithmetic));
  const error = new Float64Array(E);
  const bound = new Float64Array(E);
  const part = new Float64Array(E);
  for (const head of heads(problem)) {
    for (const analysis of analyses) analysis.enter(head);
    for (let first = 0; first < N; first = next(first)) {
      const token = worstRow(oracle, out, head.h, H, E, first, next(first));
      const row = (token * H + head.h) * E;
      scores.read(head, token);
      bound.fill(0);
      for (const analysis of analyses) {
        analysis.read(head, token, part);
        for (let e = 0; e < E; e++) bound[e] += part[e];
      }
      for (let e = 0; e < E; e++) error[e] = Math.abs(out[row + e] - oracle[row + e]);
      yield { head: head.h, token, error, bound };
    }
  }
}

/** Of rows from ≤ i < to of head h in [N,H,E] the one with the largest |a − b|; the first with NaN, if any. */
function worstRow(a: Values, b: Values, h: number, H: number, E: number, from: number, to: number): number {
  let worst = from;
  let most = 0;
  for (let i = from; i < to; i++) {
    for (let x = (i * H + h) * E; x < (i * H + h + 1) * E; x++) {
      const error = Math.abs(a[x] - b[x]);
      if (Number.isNaN(error)) return i;
      if (error > most) {
        most = error;
        worst = i;
      }
    }
  }
  return worst;
}
