/**
 * Which keys a row may see before mask and bias: an interval, cut out by lengths, causal, window, sink tokens, chunk.
 *
 *   p = i + offset[b]     lo ≤ j < hi,  or  j < min(sinkTokens[h], hi)
 */
import { describe, MAX_LENGTH, refuse } from "./check.ts";
import { counts } from "./vector.ts";
import type { Align } from "./semantics.ts";
import type { PerHead, Window } from "./options.ts";
import type { Problem } from "./problem.ts";

/** An open side of a window. */
export const OPEN = 0x7fffffff;

/** The keys that row i of (b, h) may see, before mask and bias: lo ≤ j < hi, and j < min(sinkTokens[h], hi). */
export function keyRange(problem: Problem, b: number, h: number, i: number): { lo: number; hi: number } {
  const { offset, chunk } = problem;
  const p = i + offset[b];
  const { left, right } = reach(problem, b, h);
  let lo = left === OPEN ? 0 : Math.max(0, p - left);
  let hi = problem.keyLength[b];
  if (right !== OPEN) hi = Math.min(hi, p + right + 1);
  if (chunk > 0) {
    const start = Math.floor(p / chunk) * chunk;
    lo = Math.max(lo, start);
    hi = Math.min(hi, start + chunk);
  }
  hi = Math.max(hi, 0);
  return { lo: Math.min(lo, hi), hi };
}

/** Keys left and right of the diagonal that a row of (b, h) reaches: the window, `causal` folded in. */
function reach(problem: Problem, b: number, h: number): { left: number; right: number } {
  const { M, semantics, queryLength } = problem;
  const causal = problem.causal && !(semantics.singleQuery === "sees-all" && queryLength[b] === 1);
  let left = problem.left[h];
  let right = causal ? Math.min(problem.right[h], 0) : problem.right[h];
  if (semantics.openWindow === "unlimited") return { left, right };
  // FlashAttention-2: M keys or more is open, and beside a closed side an open one counts M keys, which is seen only
  // where N > M. Plain causal is a kernel of its own, without a left side.
  if (left >= M) left = OPEN;
  if (right >= M) right = OPEN;
  if (left === OPEN && right > 0 && right !== OPEN) left = M;
  if (right === OPEN && left !== OPEN) right = M;
  return { left, right };
}

/** True where FlashAttention-2 runs its causal kernel: the right side ends on the diagonal, the left is open. */
export function isCausalKernel({ M, causal, left, right }: Problem, h: number): boolean {
  return left[h] >= M && (causal || right[h] === 0);
}

export function diagonal(align: Align, queryLength: Int32Array, keyLength: Int32Array): Int32Array {
  if (align === "top-left") return new Int32Array(queryLength.length);
  if (align === "bottom-right") return queryLength.map((n, b) => keyLength[b] - n);
  if (align === null || typeof align !== "object") {
    refuse("align", '"top-left", "bottom-right" or {offset}', align, "string");
  }
  return counts("align.offset", align.offset, queryLength.length, "[B]", -MAX_LENGTH);
}

export function windows(input: PerHead<Window> | null, H: number): { left: Int32Array; right: Int32Array } {
  const left = new Int32Array(H).fill(OPEN);
  if (input === null) return { left, right: left };
  const right = left.slice();
  const pairs = (Array.isArray(input[0]) ? input : new Array(H).fill(input)) as Window[];
  if (pairs.length !== H) throw new RangeError(`window: expected one per head (H=${H}), got ${pairs.length}`);
  pairs.forEach((pair, h) => {
    if (!Array.isArray(pair) || pair.length !== 2) {
      const [Wrong, got] = Array.isArray(pair)
        ? [RangeError, JSON.stringify(pair)]
        : [TypeError, describe(pair)];
      throw new Wrong(`window: expected [left, right], got ${got}`);
    }
    left[h] = side("window[0]", pair[0]);
    right[h] = side("window[1]", pair[1]);
  });
  return { left, right };
}

function side(name: string, value: number | null): number {
  if (value === null || value === -1 || value === Infinity) return OPEN;
  if (!Number.isInteger(value) || value < 0) {
    refuse(name, "an integer ≥ 0, or null or −1 for open", value);
  }
  return Math.min(value, OPEN);
}
