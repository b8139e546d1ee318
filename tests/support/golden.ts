/** The golden cases of tests/vectors/golden as calls, and how far two float64 computations of one may differ. */
import { readdirSync, readFileSync } from "node:fs";
import { readSafetensors } from "../../src/io/safetensors.ts";
import type { FileTensor } from "../../src/io/tensor.ts";
import type { AttentionOptions } from "../../src/options.ts";
import { createProblem } from "../../src/problem.ts";
import { dot } from "../../src/reference/dot.ts";
import { heads } from "../../src/reference/heads.ts";
import { scores } from "../../src/reference/scores.ts";
import { placeLse, placeOut } from "../../src/result.ts";

const FOLDER = new URL("../vectors/golden/", import.meta.url);

export interface Golden {
  readonly name: string;
  readonly q: FileTensor;
  readonly k: FileTensor;
  readonly v: FileTensor;
  readonly options: AttentionOptions;
  /** The tensors of the file by name: `o`, `lse`, `dout`, `dq`, … */
  readonly tensors: ReadonlyMap<string, FileTensor>;
}

export function golden(): Golden[] {
  const names = readdirSync(FOLDER).filter((name) => name.endsWith(".safetensors")).sort();
  return names.map((name) => {
    const { metadata, tensors } = readSafetensors(readFileSync(new URL(name, FOLDER)), { name });
    const { layout, scale, causal, align, window, softcap } = JSON.parse(metadata.attention);
    const [q, k, v] = ["q", "k", "v"].map((letter) => tensors.get(letter)!);
    const given = <Key extends string>(key: Key, tensor: FileTensor | undefined) =>
      tensor && { [key]: tensor } as Record<Key, FileTensor>;
    const cuQ = tensors.get("cu_seqlens_q");
    const options: AttentionOptions = {
      ...{ layout, scale, causal, align, window, softcap, semantics: { lseIncludesSink: false } },
      ...given("mask", tensors.get("mask")),
      ...given("bias", tensors.get("bias")),
      ...given("sink", tensors.get("sink")),
      ...given("alibiSlopes", tensors.get("alibi_slopes")),
      ...(cuQ && { cuSeqlens: { q: cuQ, k: tensors.get("cu_seqlens_k")! } }),
    };
    return { name: name.replace(".safetensors", ""), q, k, v, options, tensors };
  });
}

/** Rounding with which an expectation was stored: half an ulp of float32, or half the least subnormal. */
export function storage(tensor: FileTensor): (x: number) => number {
  return tensor.dtype === "float64" ? () => 0 : (x) => Math.max(Math.abs(x) * 2 ** -24, 2 ** -150);
}

/**
 * Two computations in float64, each off by at most (u = 2^−53, first order):
 *
 *   δ = u·max_j [(D + 15)·scale·Σ|q||k| + 8·|x_j|]   the D products and sums; every later term of x is at most
 *                                                     |x_j| + 2·scale·Σ|q||k|, and rounded a handful of times
 *   |Δlse| ≤ δ + (M + 6)·u + 2u·|lse|                 |ΔO| ≤ Σ p|v|·(2δ + (2M + 12)·u)
 */
export function float64Bounds({ q, k, v, options }: Golden): { out: Float64Array; lse: Float64Array } {
  const problem = createProblem(q, k, v, options);
  const { D, E, M, scale } = problem;
  const [outAt, lseAt] = [placeOut(problem), placeLse(problem)];
  const out = new Float64Array(outAt.shape.reduce((a, b) => a * b, 1));
  const lse = new Float64Array(lseAt.shape.reduce((a, b) => a * b, 1));
  const x = new Float64Array(M);
  const u = 2 * 2 ** -53;
  for (const head of heads(problem)) {
    const { b, h, N, V } = head;
    const Q = head.Q.map(Math.abs);
    const K = head.K.map(Math.abs);
    for (let i = 0; i < N; i++) {
      scores(head, i, 0, head.M, x);
      let delta = 0;
      let top = -Infinity;
      for (let j = 0; j < head.M; j++) {
        if (x[j] === -Infinity) continue;
        const size = Math.abs(scale) * dot(Q, i * D, K, j * D, D);
        delta = Math.max(delta, u * ((D + 15) * size + 8 * Math.abs(x[j])));
        top = Math.max(top, x[j]);
      }
      const weights = Array.from(x.subarray(0, head.M), (value) => Math.exp(value - top));
      const l = weights.reduce((sum, w) => sum + (w || 0), 0);
      const row = outAt.base[b] + h * outAt.head + i * outAt.row;
      for (let j = 0; j < head.M; j++) {
        if (x[j] === -Infinity) continue;
        const error = weights[j] / l * (2 * delta + (2 * M + 12) * u);
        for (let e = 0; e < E; e++) out[row + e] += error * Math.abs(V[j * E + e]);
      }
      const reach = l === 0 ? 0 : Math.abs(top + Math.log(l));
      lse[lseAt.base[b] + h * lseAt.head + i * lseAt.row] = delta + (M + 6) * u + 2 * u * reach;
    }
  }
  return { out, lse };
}
