/**
 * Attention in one call, and the float64 oracle beside it.
 *
 *   npm ci && node examples/attention.js
 */
import { attention } from "flashtile";
import * as reference from "flashtile/reference";

/** Numbers from −1 to 1, the same every time. */
let state = 1;
const random = () => (state = (state * 48271) % 2147483647) / 1073741824 - 1;
const tensor = (...shape) => {
  const size = shape.reduce((a, b) => a * b);
  return { data: Float32Array.from({ length: size }, random), shape };
};

// One sequence of 256 tokens, 8 query heads of width 64 that share 2 key/value heads: layout [B,H,N,D].
const q = tensor(1, 8, 256, 64);
const k = tensor(1, 2, 256, 64);
const v = tensor(1, 2, 256, 64);

const start = performance.now();
const { out, lse } = attention(q, k, v, { causal: true, lse: true });
console.log(`out [${out.shape}], lse [${lse.shape}] in ${(performance.now() - start).toFixed(1)} ms`);

const exact = reference.attention(q, k, v, { causal: true }).out.data;
const error = exact.reduce((most, x, i) => Math.max(most, Math.abs(x - out.data[i])), 0);
console.log(`largest difference from float64: ${error.toExponential(1)}`);
