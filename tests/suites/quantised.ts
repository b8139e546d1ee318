/**
 * What quantised attention must do, as a function of the implementation and the precision: the oracle, the kernels.
 * Answers are exact attention within the derived bound (docs/error-bounds.md §10), and the oracle's own quantised
 * results; each trap of the published code has its test.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { metrics } from "../../src/calibrate/metrics.ts";
import { type Precision, type Recipe, resolvePrecision } from "../../src/precision.ts";
import { createProblem } from "../../src/problem.ts";
import {
  attention as reference,
  type AttentionOptions,
  type AttentionResult,
  type TensorInput,
} from "../../src/reference/index.ts";
import { type Arithmetic, FLOAT64, STORED } from "../../src/verify/arithmetic.ts";
import { forwardBounds } from "../../src/verify/bounds.ts";
import { quantised } from "../../src/verify/quantisation.ts";
import { biased, heavyTailed } from "../support/recipes.ts";
import { beyond, coin, type Made, normal } from "../support/tensors.ts";
import { anyCase, each, sample } from "./cases.ts";

type Attention = (
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  options?: AttentionOptions,
) => AttentionResult | Promise<AttentionResult>;

export interface QuantisedSuiteOptions {
  /** What the implementation computes in beside its codes. */
  readonly arithmetic: Arithmetic;
  /** Options that the implementation refuses; their tests show as skipped. */
  readonly without?: readonly (keyof AttentionOptions)[];
  /** false: values near the largest float32 may overflow. */
  readonly huge?: boolean;
}

type Numbers = { data: ArrayLike<number | bigint> };

const numbers = (x: Numbers) => Float64Array.from(x.data as ArrayLike<number>);
const worst = (a: Numbers, b: Numbers) =>
  numbers(a).reduce((most, x, at) => Math.max(most, Math.abs(x - Number(b.data[at]))), 0);

/** Bit for bit. */
function same(a: Numbers, b: Numbers): void {
  expect(numbers(a)).toEqual(numbers(b));
}

export function quantisedSuite(
  name: string,
  attention: Attention,
  precision: Precision,
  options: QuantisedSuiteOptions,
): void {
  const { arithmetic, without = [] } = options;
  const recipe = resolvePrecision(precision) as Recipe;
  const has = (given: AttentionOptions) =>
    it.skipIf(Object.keys(given).some((key) => without.includes(key as keyof AttentionOptions)));
  const run = (q: Made, k: Made, v: Made, given: AttentionOptions = {}) =>
    attention(q, k, v, { precision, lse: true, ...given });

  /** Within the bound of exact attention. */
  async function holds(q: Made, k: Made, v: Made, given: AttentionOptions = {}): Promise<void> {
    const got = await run(q, k, v, given);
    const want = reference(q, k, v, { ...given, lse: true });
    const problem = createProblem(q, k, v, { ...given, precision });
    const bounds = forwardBounds(problem, quantised(arithmetic), FLOAT64);
    const stored = (bound: Float64Array, exact: ArrayLike<number | bigint>, dtype: string) =>
      bound.map((limit, at) => limit + STORED[dtype].u * Math.abs(Number(exact[at])) + STORED[dtype].eta);
    expect(got.out.shape).toEqual(want.out.shape);
    const [out, lse] = [numbers(want.out), numbers(want.lse!)];
    expect(beyond(got.out.data, out, stored(bounds.out, out, got.out.dtype))).toEqual([]);
    expect(beyond(got.lse!.data, lse, stored(bounds.lse, lse, got.lse!.dtype))).toEqual([]);
  }

  describe(name, () => {
    it("shapes round the edges of tiles, blocks and warps", async () => {
      for (
        const shape of [
          ...[[1, 1, 1, 1, 1, 1, 1], [1, 2, 1, 3, 7, 5, 3], [2, 2, 2, 17, 63, 16, 8], [
            1,
            1,
            1,
            33,
            64,
            32,
            16,
          ]],
          ...[[1, 2, 1, 9, 65, 64, 64], [1, 1, 1, 129, 127, 8, 8], [1, 1, 1, 5, 200, 128, 20], [
            1,
            1,
            1,
            2,
            9,
            576,
            12,
          ]],
        ]
      ) {
        const [q, k, v] = sample(shape, 1);
        await holds(q, biased(k, 4), biased(v, 2));
        await holds(q, k, v, { causal: true });
      }
    });

    for (const [title, given] of each) {
      has(given)(title, async () => {
        const [q, k, v] = sample([2, 4, 2, 9, 13, 8, 6], 2);
        await holds(q, biased(k, 3), v, given);
      });
    }

    it("any combination of options", async () => {
      const data = fc.record({
        biasK: fc.constantFrom(0, 10),
        biasV: fc.constantFrom(0, 5),
        heavy: fc.boolean(),
      });
      await fc.assert(
        fc.asyncProperty(anyCase(without), data, ({ shape, seed, options }, { biasK, biasV, heavy }) => {
          const [q, k, v] = sample(shape, seed);
          return holds(heavy ? heavyTailed(q) : q, biased(k, biasK), biased(v, biasV), options);
        }),
        { numRuns: 60, seed: 13 },
      );
    });

    it("errs as the oracle of the same precision does", async () => {
      // Roundings that go the other way at a tie are rare: what an implementation adds is small beside what it shares.
      const [q, k, v] = [
        normal(41, [1, 2, 70, 64]),
        biased(normal(42, [1, 1, 260, 64]), 4),
        normal(43, [1, 1, 260, 64]),
      ];
      for (const given of [{}, { causal: true }]) {
        const exact = reference(q, k, v, given).out;
        const oracle = reference(q, k, v, { ...given, precision }).out;
        const got = (await run(q, k, v, given)).out;
        expect(metrics(oracle, got).rmse).toBeLessThanOrEqual(0.1 * metrics(exact, oracle).rmse);
      }
    });

    const set = (x: Made, rows: number[], value: number): Made => {
      const width = x.shape[3];
      const data = x.data.slice();
      for (const row of rows) data.fill(value, row * width, (row + 1) * width);
      return { data, shape: x.shape };
    };

    it("a block of zeros in Q, K and V, and tensors of zeros", async () => {
      const [q, k, v] = sample([1, 1, 1, 140, 140, 16, 8], 1);
      const block = Array.from({ length: 64 }, (_, n) => 64 + n);
      const { out, lse } = await run(set(q, block, 0), set(k, block, 0), set(v, block, 0));
      expect(numbers(out).every(Number.isFinite) && numbers(lse!).every(Number.isFinite)).toBe(true);
      const zero = (x: Made) => set(x, Array.from({ length: 140 }, (_, n) => n), 0);
      const nothing = await run(zero(q), zero(k), zero(v));
      expect(numbers(nothing.out)).toEqual(new Float64Array(140 * 8));
      expect(worst(nothing.lse!, { data: new Float64Array(140).fill(Math.log(140)) })).toBeLessThan(
        64 * arithmetic.u,
      );
    });

    it("a row that sees nothing: O = 0, lse = −∞, and no mean of V", async () => {
      const [q, k, v] = sample([1, 1, 1, 9, 70, 16, 8], 2);
      const mask = coin(3, [9, 70], 0.7);
      mask.data.fill(0, 4 * 70, 5 * 70);
      const { out, lse } = await run(q, k, biased(v, 10), { mask });
      expect(numbers(out).slice(32, 40)).toEqual(new Float64Array(8));
      expect(lse!.data[4]).toBe(-Infinity);
      expect(numbers(out).filter((x) => x === 0).length).toBe(8);
      // With a sink the row has a state, and still no value.
      const sunk = await run(q, k, biased(v, 10), { mask, sink: [1.5] });
      expect(numbers(sunk.out).slice(32, 40)).toEqual(new Float64Array(8));
      expect(sunk.lse!.data[4]).toBe(1.5);
    });

    it("means and scales know nothing of padding and masked keys, whatever they hold", async () => {
      const [q, k, v] = sample([2, 2, 1, 7, 90, 16, 8], 4);
      const mask = coin(5, [1, 1, 1, 90], 0.6);
      const hidden = Array.from({ length: 180 }, (_, row) => row).filter((row) => !mask.data[row % 90]);
      const padding = Array.from({ length: 180 }, (_, row) => row).filter((row) =>
        row % 90 >= [80, 33][row < 90 ? 0 : 1]
      );
      for (const [rows, options] of [[hidden, { mask }], [padding, { keyLengths: [80, 33] }]] as const) {
        const want = await run(q, k, v, options);
        for (const junk of [0, 1e30, NaN, Infinity, -Infinity]) {
          const got = await run(q, set(k, rows as number[], junk), set(v, rows as number[], junk), options);
          same(got.out, want.out);
          same(got.lse!, want.lse!);
        }
      }
    });

    it("packed sequences have each their own mean", async () => {
      const cu = { q: [0, 30, 37], k: [0, 70, 100] };
      const [q, k, v] = [normal(6, [37, 2, 16]), biased(normal(7, [100, 1, 16]), 8), normal(8, [100, 1, 8])];
      const packed = await run(q, k, v, { layout: "thd", cuSeqlens: cu, causal: true });
      for (let s = 0; s < 2; s++) {
        const part = (x: Made, from: number, to: number): Made => {
          const width = x.shape[1] * x.shape[2];
          return {
            data: x.data.slice(from * width, to * width),
            shape: [1, to - from, x.shape[1], x.shape[2]],
          };
        };
        const [q0, q1, k0, k1] = [cu.q[s], cu.q[s + 1], cu.k[s], cu.k[s + 1]];
        const one = await run(part(q, q0, q1), part(k, k0, k1), part(v, k0, k1), {
          layout: "bnhd",
          causal: true,
        });
        expect(numbers(packed.out).slice(q0 * 16, q1 * 16)).toEqual(numbers(one.out));
      }
    });

    it("NaN and ∞ in a key reach the rows that see it, and no other", async () => {
      const [q, k, v] = sample([1, 1, 1, 80, 80, 16, 8], 9);
      const options = { causal: true } as const;
      const mask = { data: new Uint8Array(80).fill(1).fill(0, 40, 41), shape: [80], dtype: "bool" } as const;
      // Rows before 40 see what they would see if nobody saw key 40.
      const want = await run(q, k, v, { ...options, mask });
      for (const junk of [NaN, Infinity, -Infinity]) {
        const { out } = await run(q, set(k, [40], junk), set(v, [40], junk), options);
        expect(numbers(out).slice(0, 40 * 8)).toEqual(numbers(want.out).slice(0, 40 * 8));
        expect(Number(out.data[40 * 8])).toBeNaN();
      }
      const value = set(v, [40], NaN);
      expect(numbers((await run(q, k, value, options)).out).slice(0, 40 * 8).every(Number.isFinite)).toBe(
        true,
      );
      const row = await run(set(q, [10], NaN), k, v, options);
      expect(numbers(row.out).every((x, at) => Number.isNaN(x) === (at >= 80 && at < 88))).toBe(true);
    });

    it("GQA: a mean and scales for each key/value head, as if it were repeated", async () => {
      const [q, k, v] = sample([1, 4, 2, 20, 70, 16, 8], 10);
      const twice = ({ data, shape }: Made): Made => {
        const size = shape[2] * shape[3];
        const heads = [0, 0, 1, 1].map((g) => Array.from(data.slice(g * size, (g + 1) * size)));
        return { data: Float32Array.from(heads.flat()), shape: [1, 4, shape[2], shape[3]] };
      };
      const want = await run(q, k, v, { causal: true });
      same((await run(q, twice(k), twice(v), { causal: true })).out, want.out);
    });

    it("D = 160, 192 and 7 are not padded", async () => {
      for (const D of [160, 192, 7]) {
        const [q, k, v] = [
          normal(11, [1, 1, 9, D]),
          biased(normal(12, [1, 1, 70, D]), 4),
          normal(13, [1, 1, 70, D]),
        ];
        const want = reference(q, k, v, { lse: true });
        const got = await run(q, k, v);
        expect(got.out.shape).toEqual([1, 1, 9, D]);
        // four bits cost the most
        const limit = recipe.qk === "int4" || recipe.qk === "fp4" ? 0.4 : 0.03;
        expect(worst(got.out, want.out)).toBeLessThan(limit);
        expect(worst(got.lse!, want.lse!)).toBeLessThan(limit);
      }
    });

    // float16 holds nothing beyond 65504, NVFP4 nothing beyond 448·6.
    const small = recipe.pv === "fp16" || recipe.pv === "fp4" || options.huge === false;
    it.skipIf(small)("values near the largest float32", async () => {
      const [q, k] = sample([1, 1, 1, 5, 70, 16, 3], 14);
      const v = { data: new Float32Array(210).fill(3e38), shape: [1, 1, 70, 3] };
      const { out } = await run(q, k, v);
      expect(Math.max(...numbers(out).map((x) => Math.abs(x / 3e38 - 1)))).toBeLessThan(0.05);
    });
  });
}
