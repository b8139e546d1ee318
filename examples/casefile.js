/**
 * Is your attention right? Write its inputs and its output to a file, and let flashtile judge it: the tolerance is
 * derived for these very numbers.
 *
 *   npm ci && node examples/casefile.js && npx flashtile verify mine.safetensors
 */
import { writeSafetensors } from "flashtile/io";
import { writeFileSync } from "node:fs";

const [H, N, D] = [2, 33, 16];
let state = 7;
const random = () => (state = (state * 48271) % 2147483647) / 1073741824 - 1;
const floats = () => Float32Array.from({ length: H * N * D }, random);
const [q, k, v] = [floats(), floats(), floats()];

/** The implementation in question: causal softmax(q·kᵀ/√D)·v, by the book. */
const o = new Float32Array(H * N * D);
for (let h = 0; h < H; h++) {
  for (let i = 0; i < N; i++) {
    const at = (h * N + i) * D;
    const scores = [];
    for (let j = 0; j <= i; j++) {
      let s = 0;
      for (let d = 0; d < D; d++) s += q[at + d] * k[(h * N + j) * D + d];
      scores.push(s / Math.sqrt(D));
    }
    const top = Math.max(...scores);
    const weights = scores.map((s) => Math.exp(s - top));
    const sum = weights.reduce((a, b) => a + b);
    weights.forEach((w, j) => {
      for (let d = 0; d < D; d++) o[at + d] += (w / sum) * v[(h * N + j) * D + d];
    });
  }
}

const tensors = Object.fromEntries(
  Object.entries({ q, k, v, o }).map((
    [name, data],
  ) => [name, { dtype: "float32", shape: [1, H, N, D], data }]),
);
const file = process.argv[2] ?? "mine.safetensors";
writeFileSync(file, writeSafetensors({ metadata: { attention: JSON.stringify({ causal: true }) }, tensors }));
console.log(`wrote ${file}; now: npx flashtile verify ${file}`);
