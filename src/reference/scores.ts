/**
 * The scores of one query: what goes into the softmax.
 *
 *   s = scale·⟨q_i, k_j⟩ → softcap·tanh(s/softcap) → + ALiBi + bias,  and −∞ where row i may not see key j
 *
 * x = −∞ is how everything behind this file knows that a key is not there: it contributes nothing, whatever K and V
 * hold. Cost: 2·D flops a score.
 */
import { dot } from "./dot.ts";
import type { Head } from "./heads.ts";
import { tanh } from "./math.ts";
import { keyRange } from "../problem.ts";

/**
 * Writes the scores of query i against keys from ≤ j < to into x[0 …].
 *
 * @param slope If given, receives dx/ds, the derivative of the softcap: 1 − tanh²(s/softcap).
 */
export function scores(
  head: Head,
  i: number,
  from: number,
  to: number,
  x: Float64Array,
  slope?: Float64Array,
): void {
  const { problem, b, h, bias, mask, Q, K, product } = head;
  const { D, scale, softcap, semantics } = problem;
  const { lo, hi } = keyRange(problem, b, h, i);
  const sinkTokens = problem.sinkTokens[h];
  const capLast = semantics.softcap === "after-alibi";
  x.fill(-Infinity, 0, to - from);
  for (let j = from; j < Math.min(to, hi); j++) {
    if (j >= sinkTokens && j < lo) continue;
    if (mask !== null && mask(i, j) === 0) continue;
    const added = bias === null ? 0 : bias(i, j);
    if (added === -Infinity) continue;

    let s = scale * (product === undefined ? dot(Q, i * D, K, j * D, D) : product(i, j));
    if (capLast) s += alibi(head, i, j);
    if (slope) slope[j - from] = 1;
    if (softcap > 0) {
      const t = tanh(s / softcap);
      s = softcap * t;
      if (slope) slope[j - from] = 1 - t * t;
    }
    if (!capLast) s += alibi(head, i, j);
    // The slope multiplies the additive mask in ggml; elsewhere the bias is added as it is.
    x[j - from] = s + biasSlope(head) * added;
  }
}

/** What ALiBi adds at (i, j); see `Semantics.alibi`. */
export function alibi({ problem, b, h }: Head, i: number, j: number): number {
  const { alibiSlopes, semantics, H, offset } = problem;
  if (alibiSlopes === null || semantics.alibi === "bias") return 0;
  return alibiSlopes[b * H + h] * (semantics.alibi === "relative" ? j - i : -Math.abs(i + offset[b] - j));
}

/** What multiplies the bias: the slope where ALiBi means that, else 1. */
export function biasSlope({ problem, b, h }: Head): number {
  const { alibiSlopes, semantics, H } = problem;
  return alibiSlopes !== null && semantics.alibi === "bias" ? alibiSlopes[b * H + h] : 1;
}
