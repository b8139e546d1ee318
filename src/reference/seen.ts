/**
 * Which keys and rows may enter the statistics of quantisation: means, largest magnitudes.
 *
 * A key that no query of its group of heads may see contributes nothing, whatever it holds: not to a mean, not to a
 * scale. (SageAttention's mean takes in padded and masked tokens.) Neither may NaN or ∞ spread from its row to the
 * rows that share a scale with it.
 */
import type { Head } from "./heads.ts";
import { scores } from "./scores.ts";

/** 1 for each key that some query of these heads, which share it, may see. */
export function seenKeys(group: readonly Head[]): Uint8Array {
  const { M } = group[0];
  const seen = new Uint8Array(M);
  const x = new Float64Array(M);
  for (const head of group) {
    // What may be seen is where a score is; which score, doesn't matter.
    const blank = { ...head, product: () => 0 };
    for (let i = 0; i < head.N; i++) {
      scores(blank, i, 0, M, x);
      for (let j = 0; j < M; j++) if (x[j] !== -Infinity) seen[j] = 1;
    }
  }
  return seen;
}
