/**
 * The state of a row of softmax: m = max x, l = Σ exp(x − m), so that lse = m + ln l. (−∞, 0) is the empty row.
 */
import { isCausalKernel } from "../problem.ts";
import type { Head } from "./heads.ts";
import { exp, log } from "./math.ts";

export interface RowState {
  readonly m: number;
  readonly l: number;
}

/** Units of ln 2 → natural units. */
export const LN2 = 0.6931471805599453;
/** Natural units → units of ln 2. */
export const LOG2E = 1.4426950408889634;

/** max(m, max x). */
export function rowMax(x: Float64Array, m = -Infinity): number {
  for (const score of x) m = Math.max(m, score);
  return m;
}

/** x ← exp(x − m), 0 where a key is hidden; returns Σ. */
export function expSum(x: Float64Array, m: number): number {
  let sum = 0;
  for (let j = 0; j < x.length; j++) sum += x[j] = x[j] === -Infinity ? 0 : exp(x[j] - m);
  return sum;
}

/** The sink counts once in l and nowhere else; a sink of −∞ is none. */
export function addSink({ m, l }: RowState, sink: number): RowState {
  const top = Math.max(m, sink);
  if (top === -Infinity) return { m, l };
  return { m: top, l: l * exp(m - top) + exp(sink - top) };
}

export function logSumExp({ m, l }: RowState): number {
  return m === -Infinity ? -Infinity : m + log(l);
}

/** The sink of a head, −∞ where there is none. */
export function sinkOf({ problem, h }: Head): number {
  return problem.sink?.[h] ?? -Infinity;
}

/** lse as the semantics reports it, from the row's natural one. */
export function reportedLse(head: Head, i: number, lse: number): number {
  const { semantics } = head.problem;
  if (lse === -Infinity) return semantics.emptyLse === "+inf" ? Infinity : -Infinity;
  const shifted = lse + rawShift(head, i);
  return semantics.lseBase === "2" ? shifted * LOG2E : shifted;
}

/** The inverse: the natural lse of `reportedLse`, with or without the sink as the semantics has it. */
export function naturalLse(head: Head, i: number, reported: number): number {
  const { semantics } = head.problem;
  if (Math.abs(reported) === Infinity) return -Infinity;
  const natural = semantics.lseBase === "2" ? reported * LN2 : reported;
  return natural - rawShift(head, i);
}

/** A causal kernel that adds slope·j in place of −slope·(p − j) reports an lse larger by slope·p. */
function rawShift({ problem, b, h }: Head, i: number): number {
  const { alibiSlopes, semantics, H, offset } = problem;
  if (alibiSlopes === null || semantics.alibi !== "distance-raw" || !isCausalKernel(problem, h)) return 0;
  return alibiSlopes[b * H + h] * (i + offset[b]);
}
