/**
 * Slopes of ALiBi: a geometric sequence for a power of two of heads, filled up from the next power's odd places.
 *
 *   n = 2^⌊log2 H⌋     slope_h = 2^(−maxBias·(h + 1)/n),  h < n;   2^(−maxBias·(2(h − n) + 1)/(2n)),  h ≥ n
 *
 * Source: Press et al., Train Short, Test Long (arXiv 2108.12409) and its published get_slopes, where maxBias is 8;
 * ggml's flash_attn_ext, which lets it be chosen.
 */
import { count, finite } from "../check.ts";
import { exp2 } from "./math.ts";

/**
 * The slope of each head.
 *
 * @param heads H ≥ 0, need not be a power of two.
 * @param maxBias 8 in the paper; ggml's max_bias, where 0 makes every slope 1.
 * @throws {TypeError} A wrong kind of thing.
 * @throws {RangeError} Heads that are no integer ≥ 0, a bias that is not finite.
 *
 * @example
 * ```ts
 * import { alibiSlopes } from "flashtile/reference";
 * console.log(Array.from(alibiSlopes(4))); // [ 0.25, 0.0625, 0.015625, 0.00390625 ]
 * console.log(Array.from(alibiSlopes(3))); // [ 0.0625, 0.00390625, 0.25 ]
 * ```
 */
export function alibiSlopes(heads: number, maxBias = 8): Float64Array {
  const H = count("heads", heads);
  const reach = finite("maxBias", maxBias);
  let n = 1;
  while (2 * n <= H) n *= 2;
  return Float64Array.from(
    { length: H },
    (_, h) => exp2(h < n ? -reach * (h + 1) / n : -reach * (2 * (h - n) + 1) / (2 * n)),
  );
}
