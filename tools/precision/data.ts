/** What the precisions are measured on: random tensors that are hard in one way each, and a real model's layers. */
import { readFileSync } from "node:fs";
import { readSafetensors } from "../../src/io/safetensors.ts";
import { parseConfig } from "../../src/model/config.ts";
import { LanguageModel } from "../../src/model/languagemodel.ts";
import { referenceImplementation } from "../../src/model/reference.ts";
import { AttentionTrace } from "../../src/model/trace.ts";
import { readWeights } from "../../src/model/weights.ts";
import type { AttentionOptions } from "../../src/reference/index.ts";
import type { TensorInput } from "../../src/tensor.ts";
import { type Made, normal } from "../../tests/support/tensors.ts";

export interface Sample {
  readonly name: string;
  readonly about: string;
  readonly q: TensorInput;
  readonly k: TensorInput;
  readonly v: TensorInput;
  readonly options: AttentionOptions;
}

const [H, D] = [2, 64];
/** Keys of a sample; queries are the last ones. */
const M = 512;

/** x + size·c, with one normal c for each channel of each head. */
function biased(x: Made, seed: number, size: number): Made {
  const [, heads, rows, columns] = x.shape;
  const bias = normal(seed, [heads, columns], size).data;
  return {
    data: x.data.map((value, at) => value + bias[Math.floor(at / rows / columns) * columns + at % columns]),
    shape: x.shape,
  };
}

/** x³/√15: unit variance, and one element in 400 beyond 4 standard deviations, instead of one in 16,000. */
function heavyTailed(x: Made): Made {
  return { data: x.data.map((value) => value ** 3 / Math.sqrt(15)), shape: x.shape };
}

export function synthetic(N: number): Sample[] {
  const q = normal(101, [1, H, N, D]);
  const k = normal(102, [1, H, M, D]);
  const v = normal(103, [1, H, M, D]);
  const options = {};
  return [
    { name: "Gaussian", about: "Q, K, V ~ N(0, 1)", q, k, v, options },
    {
      name: "K biased 8×",
      about: "each channel of K is shifted by 8·N(0, 1)",
      q,
      k: biased(k, 104, 8),
      v,
      options,
    },
    {
      name: "K biased 20×",
      about: "each channel of K is shifted by 20·N(0, 1)",
      q,
      k: biased(k, 104, 20),
      v,
      options,
    },
    {
      name: "Q and K biased",
      about:
        "channels of Q shifted by 3·N(0, 1), of K by 8·N(0, 1); scale 1/√640, so that a row's scores stay N(0, 1)",
      q: biased(q, 105, 3),
      k: biased(k, 104, 8),
      v,
      options: { scale: 1 / Math.sqrt(10 * D) },
    },
    {
      name: "V biased 10×",
      about: "each channel of V is shifted by 10·N(0, 1)",
      q,
      k,
      v: biased(v, 106, 10),
      options,
    },
    sink(),
    { name: "Q heavy-tailed", about: "Q ~ N(0, 1)³/√15", q: heavyTailed(q), k, v, options },
  ];
}

/** An attention sink: key 0 weighs e^10 times as much as another, 1.6 times as much as all of them, and its V is small. */
function sink(): Sample {
  const [N, keys] = [32, 8192];
  const [q, k] = [normal(107, [1, 1, N, D]), normal(108, [1, 1, keys, D])];
  for (let i = 0; i < N; i++) q.data[i * D] = 8;
  for (let j = 0; j < keys; j++) k.data[j * D] = 0;
  k.data.fill(0, 0, D);
  k.data[0] = 10;
  const v = biased(normal(109, [1, 1, keys, D]), 110, 1);
  for (let e = 0; e < D; e++) v.data[e] *= 0.1;
  return {
    name: "sink, 8192 keys",
    about:
      "key 0 scores 10 more than the others, whose scores are N(0, 1), and has a small V; V shifted by N(0, 1)",
    ...{ q, k, v, options: {} },
  };
}

/** How far the channels of x [1,heads,rows,columns] or, as bnhd, [1,rows,heads,columns] are off 0: median of |mean|/σ. */
export function channelBias(x: TensorInput, bnhd: boolean): number {
  const [, a, b, columns] = Array.from(x.shape!);
  const [heads, rows] = bnhd ? [b, a] : [a, b];
  const data = x.data as Float32Array;
  const ratios: number[] = [];
  for (let h = 0; h < heads; h++) {
    for (let d = 0; d < columns; d++) {
      let sum = 0;
      let square = 0;
      for (let row = 0; row < rows; row++) {
        const value = data[(bnhd ? row * heads + h : h * rows + row) * columns + d];
        sum += value;
        square += value * value;
      }
      const mean = sum / rows;
      ratios.push(Math.abs(mean) / Math.sqrt(square / rows - mean * mean));
    }
  }
  return ratios.sort((a, b) => a - b)[ratios.length >> 1];
}

const folder = new URL("../models/moby/", import.meta.url);
const file = (name: string) => new Uint8Array(readFileSync(new URL(name, folder)));
export const config = parseConfig(new TextDecoder().decode(file("config.json")));
export const weights = readWeights(readSafetensors(file("model.safetensors")).tensors, config);
export const heldOut = file("heldout-moby.txt");

/** The attention of each layer of models/moby over its held-out text: the last N of 512 queries, causal. */
export function moby(N: number): Sample[] {
  const trace = new AttentionTrace();
  const model = LanguageModel.load({ config, weights }, referenceImplementation());
  model.observer = trace.observe;
  model.prefill(heldOut.subarray(0, M));
  const { heads, kvHeads, headDim } = config;
  const samples = Array.from({ length: config.layers }, (_, layer): Sample => {
    const q = trace.layer(layer).q.subarray((M - N) * heads * headDim);
    const { k, v } = model.keysAndValues(layer);
    const keys = [1, M, kvHeads, headDim];
    return {
      name: `moby, layer ${layer}`,
      about: "activations of the shipped model on its held-out text, causal",
      q: { data: Float32Array.from(q), shape: [1, N, heads, headDim] },
      k: { data: Float32Array.from(k), shape: keys },
      v: { data: Float32Array.from(v), shape: keys },
      options: { layout: "bnhd", causal: true },
    };
  });
  model.close();
  return samples;
}
