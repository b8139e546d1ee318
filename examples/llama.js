/**
 * A Llama in a hundred lines: weights from safetensors, attention from flashtile, the rest in plain JavaScript. It
 * continues a prompt with the shipped byte-level model, greedily. `npx flashtile generate` does all of it in
 * WebAssembly.
 *
 *   npm ci && node examples/llama.js "Call me Ishmael. "
 */
import { attention } from "flashtile";
import { readSafetensors } from "flashtile/io";
import { readFileSync } from "node:fs";

const folder = new URL("../models/moby/", import.meta.url);
const config = JSON.parse(readFileSync(new URL("config.json", folder), "utf8"));
const { tensors } = readSafetensors(readFileSync(new URL("model.safetensors", folder)));
const { hidden_size: C, num_attention_heads: H, num_key_value_heads: G, head_dim: D, rms_norm_eps } = config;

/** A float16 is (−1)^sign · 1.mantissa · 2^(exponent − 15). */
const float16 = (bits) => {
  const mantissa = bits & 1023, exponent = (bits >> 10) & 31;
  const size = exponent ? (1024 + mantissa) * 2 ** (exponent - 25) : mantissa * 2 ** -24;
  return bits & 0x8000 ? -size : size;
};
const weight = (name) => Float32Array.from(tensors.get(`model.${name}.weight`).data, float16);
const layers = Array.from({ length: config.num_hidden_layers }, (_, l) => {
  const of = (name) => weight(`layers.${l}.${name}`);
  const [q, k, v, o] = ["q", "k", "v", "o"].map((name) => of(`self_attn.${name}_proj`));
  const [gate, up, down] = ["gate", "up", "down"].map((name) => of(`mlp.${name}_proj`));
  const norms = [of("input_layernorm"), of("post_attention_layernorm")];
  // The KV cache: room for the whole context, [tokens, G, D].
  const room = () => new Float32Array(config.max_position_embeddings * G * D);
  return { q, k, v, o, gate, up, down, norms, keys: room(), values: room() };
});
const embedding = weight("embed_tokens"), finalNorm = weight("norm");

/** x·Wᵀ for each row of x. */
function linear(x, W, depth) {
  const rows = x.length / depth, width = W.length / depth;
  const y = new Float32Array(rows * width);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < width; j++) {
      let sum = 0;
      for (let c = 0; c < depth; c++) sum += x[i * depth + c] * W[j * depth + c];
      y[i * width + j] = sum;
    }
  }
  return y;
}

function rmsNorm(x, gain) {
  const y = new Float32Array(x.length);
  for (let row = 0; row < x.length; row += C) {
    let sum = 0;
    for (let c = 0; c < C; c++) sum += x[row + c] ** 2;
    const scale = 1 / Math.sqrt(sum / C + rms_norm_eps);
    for (let c = 0; c < C; c++) y[row + c] = x[row + c] * scale * gain[c];
  }
  return y;
}

/** Turns the pairs (d, d + D/2) of every head by the angle position·θ^(−2d/D). */
function rotate(x, heads, first) {
  for (let row = 0; row < x.length; row += D) {
    const position = first + Math.floor(row / (heads * D));
    for (let d = 0; d < D / 2; d++) {
      const angle = position * config.rope_theta ** (-2 * d / D);
      const [a, b, cos, sin] = [x[row + d], x[row + d + D / 2], Math.cos(angle), Math.sin(angle)];
      x[row + d] = a * cos - b * sin;
      x[row + d + D / 2] = b * cos + a * sin;
    }
  }
  return x;
}

/** Reads `tokens` behind the `first` that the cache holds; returns the logits of the next byte. */
function read(tokens, first) {
  const N = tokens.length, M = first + N;
  let x = new Float32Array(N * C);
  tokens.forEach((token, i) => x.set(embedding.subarray(token * C, (token + 1) * C), i * C));
  const add = (y) => x = x.map((value, i) => value + y[i]);
  for (const layer of layers) {
    const h = rmsNorm(x, layer.norms[0]);
    const q = rotate(linear(h, layer.q, C), H, first);
    layer.keys.set(rotate(linear(h, layer.k, C), G, first), first * G * D);
    layer.values.set(linear(h, layer.v, C), first * G * D);
    const { out } = attention(
      { data: q, shape: [1, N, H, D] },
      { data: layer.keys, shape: [1, M, G, D] },
      { data: layer.values, shape: [1, M, G, D] },
      { layout: "bnhd", causal: true, align: "bottom-right" },
    );
    add(linear(out.data, layer.o, H * D));
    const g = rmsNorm(x, layer.norms[1]);
    const up = linear(g, layer.up, C);
    const gated = linear(g, layer.gate, C).map((value, i) => value / (1 + Math.exp(-value)) * up[i]);
    add(linear(gated, layer.down, config.intermediate_size));
  }
  return linear(rmsNorm(x.subarray((N - 1) * C), finalNorm), embedding, C);
}

const prompt = process.argv[2] ?? "Call me Ishmael. ";
const text = [...new TextEncoder().encode(prompt)];
process.stdout.write(prompt);
const decoder = new TextDecoder();
let logits = read(text, 0);
for (let n = 0; n < Number(process.argv[3] ?? 200); n++) {
  const token = logits.indexOf(Math.max(...logits));
  process.stdout.write(decoder.decode(Uint8Array.of(token), { stream: true }));
  logits = read([token], text.length);
  text.push(token);
}
process.stdout.write("\n");
