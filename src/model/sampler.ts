/**
 * Logits → a token: the most likely one at temperature 0, else drawn from softmax(logits / temperature) over the
 * topK best. exp and the random numbers are bit-stable, so that seed and logits decide the token on every engine.
 */
import { exp } from "../reference/math.ts";
import { createRandom } from "./random.ts";

export interface SamplerOptions {
  /** 0 (default) is greedy. */
  readonly temperature?: number;
  /** Draw among this many best tokens; default: all. */
  readonly topK?: number;
  /** Default 0. */
  readonly seed?: number;
}

export type Sampler = (logits: ArrayLike<number>) => number;

/**
 * @throws {RangeError} temperature < 0, topK < 1 or a seed that is no safe integer.
 *
 * @example
 * ```ts
 * import { createSampler } from "./src/model/sampler.ts";
 * const greedy = createSampler();
 * console.log(greedy([0.5, 2, 1])); // 1
 * ```
 */
export function createSampler({ temperature = 0, topK = Infinity, seed = 0 }: SamplerOptions = {}): Sampler {
  if (!(temperature >= 0 && temperature < Infinity)) {
    throw new RangeError(`temperature: expected a number ≥ 0, got ${temperature}`);
  }
  if (topK !== Infinity && !(Number.isSafeInteger(topK) && topK >= 1)) {
    throw new RangeError(`topK: expected an integer ≥ 1, got ${topK}`);
  }
  if (!Number.isSafeInteger(seed)) throw new RangeError(`seed: expected an integer, got ${seed}`);
  if (temperature === 0) return argmax;
  const random = createRandom(seed);
  return (logits) => draw(logits, temperature, topK, random());
}

/** The first of the largest; NaN is never larger. */
export function argmax(logits: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) {
    if (logits[i] > logits[best] || logits[best] !== logits[best]) best = i;
  }
  return best;
}

/** Inverse transform: the first token, in the order of the vocabulary, at which the running sum passes u·total. */
function draw(logits: ArrayLike<number>, temperature: number, topK: number, u: number): number {
  const best = argmax(logits);
  const kept = topK < logits.length ? bestOf(logits, topK) : null;
  const weights = new Float64Array(logits.length);
  let total = 0;
  for (let i = 0; i < weights.length; i++) {
    if (kept !== null && !kept.has(i)) continue;
    const weight = exp((logits[i] - logits[best]) / temperature);
    if (weight > 0) total += weights[i] = weight;
  }
  const target = u * total;
  let sum = 0;
  for (let i = 0; i < weights.length; i++) {
    sum += weights[i];
    if (sum > target) return i;
  }
  // u·total may round up to total.
  return best;
}

/** The k tokens with the largest logits; of equals the earlier. */
function bestOf(logits: ArrayLike<number>, k: number): Set<number> {
  const order = Array.from({ length: logits.length }, (_, i) => i);
  order.sort((a, b) => logits[b] - logits[a] || a - b);
  return new Set(order.slice(0, k));
}
