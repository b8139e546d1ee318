/** Bits per byte: −1/N Σ log2 p(next), how many bits an ideal coder would need with this model's predictions. */
import { exp, log } from "../reference/math.ts";

/** log2 e. */
const LOG2E = 1.4426950408889634;

/** log2 Σ e^(x−x_t): the bits that token t costs under softmax(x). */
export function bitsOf(logits: ArrayLike<number>, token: number): number {
  let max = -Infinity;
  for (let i = 0; i < logits.length; i++) max = Math.max(max, logits[i]);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += exp(logits[i] - max);
  return (log(sum) + max - logits[token]) * LOG2E;
}

/** Mean over the rows of logits [N,256], row i having to predict next[i]. */
export function bitsPerByte(logits: Float32Array | Float64Array, next: Uint8Array): number {
  const V = logits.length / next.length;
  let bits = 0;
  next.forEach((token, i) => bits += bitsOf(logits.subarray(i * V, (i + 1) * V), token));
  return bits / next.length;
}
