/**
 * The fused forward, and every row of it checked against straightforward float64 code.
 *
 * Tolerance, to first order in ε = 2^-24: a score of D products errs by δ_j ≤ ε·((D + 2)·|scale|·Σ|q·k| + 4·|x_j| +
 * 4·|m − x_j|) (sum; scale, softcap, bias; difference and log2 e), exp2 by 2.5 ulp; both numerator and denominator
 * feel it, so O errs by ≤ (2·max δ_j + (M + 16)·ε)·Σ p|v|, and lse by ≤ max δ_j + (M + 16)·ε + ε·|lse|. Keys lighter than
 * 2^-126 are dropped: M·2^-126·max|v|.
 */
import { expect } from "vitest";
import { forward, type ForwardOptions, type ForwardResult } from "../../src/ops/forward.ts";
import { createProblem, keyRange, type Problem } from "../../src/problem.ts";
import { placeLse, placeOut } from "../../src/result.ts";
import { elementReader, type TensorInput, type View } from "../../src/tensor.ts";
import type { AttentionOptions } from "../../src/options.ts";
import { deterministicFull as deterministic } from "../../src/wasm/full.ts";
import { instantiate } from "../../src/wasm/load.ts";

export const engine = instantiate(deterministic);
const EPS = 2 ** -24;

function random(seed: number): () => number {
  let x = (seed * 2654435761) | 1;
  const uniform = () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32 - 0.5;
  };
  for (let i = 0; i < 8; i++) uniform();
  return () => 2 * (uniform() + uniform() + uniform() + uniform());
}

export function tensor(shape: number[], seed: number, scale = 1): TensorInput & { data: Float32Array } {
  const next = random(seed);
  const size = shape.reduce((a, b) => a * b, 1);
  return { data: Float32Array.from({ length: size }, () => next() * scale), shape };
}

export interface Shape {
  B?: number;
  H?: number;
  G?: number;
  N: number;
  M: number;
  D: number;
  E?: number;
}

export type Tensors = [TensorInput, TensorInput, TensorInput];

/** The three tensors with f applied to each. */
export function each(tensors: Tensors, f: (t: TensorInput) => TensorInput): Tensors {
  return tensors.map(f) as unknown as Tensors;
}

export function inputs(
  { B = 1, H = 1, G = H, N, M, D, E = D }: Shape,
  seed = 1,
): Tensors {
  return [tensor([B, H, N, D], seed), tensor([B, G, M, D], seed + 1), tensor([B, G, M, E], seed + 2)];
}

/** Index of the first element of a row. */
const row = ({ offset, strides }: View, b: number, h: number, i: number) =>
  offset + b * strides[0] + h * strides[1] + i * strides[2];

/** Compares every row with float64; returns the worst error in units of its bound. */
export function check(problem: Problem, { out, lse }: ForwardResult): number {
  const { B, H, D, E, q, k, v, bias, mask, semantics } = problem;
  const [qr, kr, vr] = [q, k, v].map(elementReader);
  const br = bias && elementReader(bias), mr = mask && elementReader(mask);
  const po = placeOut(problem), pl = placeLse(problem);
  let worst = 0;
  const compare = (got: number, want: number, bound: number, what: string) => {
    const error = Number.isFinite(want) ? Math.abs(got - want) : Object.is(got, want) ? 0 : Infinity;
    if (!(error <= bound)) throw new Error(`${what}: expected ${want} ± ${bound}, got ${got}`);
    if (bound > 0) worst = Math.max(worst, error / bound);
  };
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h / problem.group);
      for (let i = 0; i < problem.queryLength[b]; i++) {
        const { lo, hi } = keyRange(problem, b, h, i);
        const qRow = row(q, b, h, problem.queryStart[b] + i);
        const xs: number[] = [], js: number[] = [], ds: number[] = [];
        for (let j = 0; j < hi; j++) {
          if (j < lo && j >= problem.sinkTokens[h]) continue;
          if (mask && !mr!(row(mask, b, h, i) + j * mask.strides[3])) continue;
          let y = bias ? br!(row(bias, b, h, i) + j * bias.strides[3]) : 0;
          if (y === -Infinity) continue;
          const kRow = row(k, b, g, problem.keyStart[b] + j);
          let x = 0, mass = 0;
          for (let d = 0; d < D; d++) {
            const term = qr(qRow + d * q.strides[3]) * kr(kRow + d * k.strides[3]);
            x += term;
            mass += Math.abs(term);
          }
          x *= problem.scale;
          mass *= Math.abs(problem.scale);
          const cap = problem.softcap;
          const slope = problem.alibiSlopes?.[b * H + h] ?? 0;
          const p = i + problem.offset[b];
          const alibi = semantics.alibi === "bias"
            ? 0
            : semantics.alibi === "relative"
            ? slope * (j - i)
            : -slope * Math.abs(p - j);
          if (cap && semantics.softcap === "before-alibi") x = cap * Math.tanh(x / cap);
          x += alibi;
          if (cap && semantics.softcap === "after-alibi") x = cap * Math.tanh(x / cap);
          if (semantics.alibi === "bias" && problem.alibiSlopes) y *= slope;
          x += y;
          xs.push(x);
          js.push(j);
          ds.push(EPS * ((D + 2) * mass + 4 * (Math.abs(x) + Math.abs(alibi) + 2 * Math.abs(y)) + 6 * cap));
        }
        const m = xs.reduce((a, x) => Math.max(a, x), -Infinity);
        let delta = 0, l = 0;
        xs.forEach((x, n) => {
          l += Math.exp(x - m);
          if (x - m > -90) delta = Math.max(delta, ds[n] + 4 * EPS * (m - x));
        });
        const sink = problem.sink?.[h] ?? -Infinity;
        const top = Math.max(m, sink);
        const total = top === -Infinity ? 0 : l * Math.exp(m - top) + Math.exp(sink - top);
        const relative = (problem.keyLength[b] + 16) * EPS;
        const name = `[${b},${h},${i}`;
        const weights = xs.map((x) => Math.exp(x - top) / total);
        for (let e = 0; e < E; e++) {
          let o = 0, mass = 0, largest = 0;
          js.forEach((j, n) => {
            const value = vr(row(v, b, g, problem.keyStart[b] + j) + e * v.strides[3]);
            const w = weights[n];
            o += w * value;
            mass += w * Math.abs(value);
            largest = Math.max(largest, Math.abs(value));
          });
          const bound = (2 * delta + relative) * mass + js.length * 2 ** -126 * largest + 2 ** -149;
          compare(out[po.base[b] + h * po.head + i * po.row + e], o, bound, `o${name},${e}]`);
        }
        if (lse) {
          const counted = semantics.lseIncludesSink ? top + Math.log(total) : m + Math.log(l);
          const want = total === 0 || (!semantics.lseIncludesSink && xs.length === 0) ? -Infinity : counted;
          const got = lse[pl.base[b] + h * pl.head + i * pl.row];
          compare(got, want, delta + relative + 2 * EPS * Math.abs(want), `lse${name}]`);
        }
      }
    }
  }
  return worst;
}

/** With lse, and once more without it, which small calls do on a path of their own: O must be the same. */
export function run(
  tensors: Tensors,
  options: AttentionOptions = {},
  forwardOptions: ForwardOptions = {},
): { problem: Problem; result: ForwardResult } {
  const problem = createProblem(...tensors, { lse: true, ...options });
  const result = forward(engine, problem, forwardOptions);
  const alone = forward(engine, createProblem(...tensors, { ...options, lse: false }), forwardOptions);
  expectSame(alone.out, result.out);
  expect(alone.tiles).toEqual(result.tiles);
  return { problem, result };
}

export function verify(
  shape: Shape,
  options: AttentionOptions = {},
  forwardOptions: ForwardOptions = {},
): number {
  const { problem, result } = run(inputs(shape), options, forwardOptions);
  return check(problem, result);
}

export const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);
export function expectSame(a: Float32Array, b: Float32Array): void {
  const x = bits(a), y = bits(b);
  expect(x.length).toBe(y.length);
  // toEqual takes a second for an array of this size.
  const at = x.findIndex((word, n) => word !== y[n]);
  if (at >= 0) throw new Error(`element ${at}: ${a[at]} and ${b[at]} differ`);
}
export function expectSameBits(a: ForwardResult, b: ForwardResult): void {
  expectSame(a.out, b.out);
  expectSame(a.lse!, b.lse!);
}
