/** The binary logarithm, from the natural one as a pair: apart, because its constants are made as the module loads. */

import { expansion, LN2, ONE } from "./constants.ts";
import { atEdge, logPair } from "./log.ts";
import { pair, productTail } from "./pair.ts";

/** 1/ln 2. */
const [LOG2E, LOG2E_LOW] = expansion(ONE * ONE / LN2, [53, 53]) as [number, number];

/**
 * Logarithm to base 2. Max error 0.5001 ulp measured, exact for powers of two. log2(1) = +0, log2(±0) = −∞,
 * log2(∞) = ∞, NaN for NaN and x < 0.
 */
export function log2(x: number): number {
  if (!(x > 0 && x < Infinity)) return atEdge(x);
  logPair(x, 0);
  const ln = pair[0]!;
  const product = ln * LOG2E;
  return product + (productTail(ln, LOG2E, product) + (ln * LOG2E_LOW + pair[1]! * LOG2E));
}
