/**
 * The kernels against the derived bounds (docs/error-bounds.md §10), precision by precision: any options, data with
 * biased channels and heavy tails, shapes of several tiles; the golden cases; and codes at their limits, where 32-bit
 * sums are the nearest to overflowing. FLASHTILE_FUZZ=5000 runs so many cases a precision instead of 200.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Precision, type Recipe, resolvePrecision, sage } from "../src/precision.ts";
import { recipes } from "../src/recipes.ts";
import { createProblem } from "../src/problem.ts";
import { attention as reference, type AttentionOptions } from "../src/reference/index.ts";
import { createRuntime } from "../src/runtime.ts";
import { FLOAT32, FLOAT64, STORED } from "../src/verify/arithmetic.ts";
import { forwardBounds } from "../src/verify/bounds.ts";
import { compare } from "../src/verify/compare.ts";
import { quantised } from "../src/verify/quantisation.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";
import { relaxed } from "../src/relaxed.ts";
import { anyCase, sample } from "./suites/cases.ts";
import { golden } from "./support/golden.ts";
import { biased, heavyTailed } from "./support/recipes.ts";
import { beyond, type Made } from "./support/tensors.ts";

const RUNS = Number(process.env.FLASHTILE_FUZZ ?? 200);
const SEED = Number(process.env.FLASHTILE_SEED ?? 1);

const own = {
  granularity: "token",
  rounding: "half-even",
  pScale: "tile",
  vScale: "tile",
  smoothQ: false,
} as const;
const PRECISIONS: [string, Precision][] = [
  ["int12", "int12"],
  ["int8", "int8"],
  ["int8, P and V int8", sage({ ...own, qk: "int8", pv: "int8", smoothV: true })],
  ["int7", sage({ ...own, qk: "int7", pv: "int7", smoothV: true })],
  ["int7, P and V int12", sage({ ...own, qk: "int7", pv: "int12", smoothV: true })],
  ["int8, P and V float32", sage({ ...own, qk: "int8", pv: "float32" })],
  ["int4, P and V float32", sage({ ...own, qk: "int4", pv: "float32", smoothV: true })],
  ["int16", sage({ ...own, qk: "int16", pv: "int16" })],
  ["int4, P and V int12", sage({ ...own, qk: "int4", pv: "int12", smoothV: true })],
  ["int8, P float32, V E4M3", sage({ ...own, qk: "int8", pv: "float32/fp8", smoothV: true })],
  ["int4, P float32, V E4M3 by head", sage({ ...own, qk: "int4", pv: "float32/fp8", vScale: "head" })],
  ["int12, nothing smoothed", sage({ ...own, qk: "int12", pv: "int12", smoothK: false })],
];

const runtimes = [
  await createRuntime(),
  ...(hasRelaxedSimd() ? [await createRuntime({ kernels: relaxed })] : []),
];

/** The worst error over its bound; more than 1 fails. */
function check(q: Made, k: Made, v: Made, options: AttentionOptions): number {
  const { precision: _, ...plain } = options;
  const problem = createProblem(q, k, v, options);
  const bounds = forwardBounds(problem, quantised(FLOAT32), FLOAT64);
  const want = reference(q, k, v, { ...plain, lse: true });
  const { u, eta } = STORED.float32;
  const [out, lse] = [want.out.data, want.lse!.data].map((data) => Float64Array.from(data as Float64Array));
  const stored = (bound: Float64Array, exact: Float64Array) =>
    bound.map((limit, at) => limit + u * Math.abs(exact[at]) + eta);
  const limit = { out: stored(bounds.out, out), lse: stored(bounds.lse, lse) };
  const integral = !(resolvePrecision(options.precision) as Recipe).pv.startsWith("float32");
  let worst = 0;
  const results = runtimes.map((runtime) => runtime.sync.attention(q, k, v, { ...options, lse: true }));
  for (const got of results) {
    expect(beyond(got.out.data, out, limit.out)).toEqual([]);
    expect(beyond(got.lse!.data, lse, limit.lse)).toEqual([]);
    // Integer modes are deterministic: both builds give the same bits, on 16-bit lanes or on bytes.
    if (integral && options.softcap === undefined) expect(got.out.data).toEqual(results[0].out.data);
    out.forEach((exact, at) => {
      const error = Math.abs(Number(got.out.data[at]) - exact);
      if (error > 0) worst = Math.max(worst, error / limit.out[at]);
    });
  }
  return worst;
}

const anyData = fc.record({
  biasQ: fc.constantFrom(0, 0, 3),
  biasK: fc.constantFrom(0, 8, 20),
  biasV: fc.constantFrom(0, 0, 10),
  heavyQ: fc.boolean(),
  size: fc.constantFrom(1, 1, 0.1, 4),
});

describe.each(PRECISIONS)("%s on the kernels", (label, precision) => {
  it("never exceeds its bound", () => {
    let worst = 0;
    const long = fc.record({
      shape: fc.tuple(
        ...[fc.constantFrom([1, 1], [2, 1]), fc.integer({ min: 1, max: 20 })] as const,
        ...[
          fc.integer({ min: 60, max: 300 }),
          fc.constantFrom(7, 16, 64),
          fc.constantFrom(8, 20, 33, 64),
        ] as const,
      ).map(([[H, G], N, M, D, E]) => [1, H, G, N, M, D, E]),
      seed: fc.nat(1000),
      options: fc.constantFrom<AttentionOptions>(
        ...[{}, { causal: true }, { window: [70, 3] as const }, { softcap: 3 }, { scale: 2 }],
      ),
    });
    // One case in eight over several tiles of keys.
    const any = fc.oneof({ weight: 7, arbitrary: anyCase(["dropout"]) }, { weight: 1, arbitrary: long });
    fc.assert(
      fc.property(any, anyData, ({ shape, seed, options }, data) => {
        const [q0, k0, v0] = sample(shape, seed);
        const q = biased(data.heavyQ ? heavyTailed(q0) : q0, data.biasQ);
        const k = biased({ ...k0, data: k0.data.map((x) => x * data.size) }, data.biasK);
        worst = Math.max(worst, check(q, k, biased(v0, data.biasV), { ...options, precision }));
      }),
      { numRuns: RUNS, seed: SEED },
    );
    // A bound that nothing comes near would prove nothing.
    expect(worst).toBeGreaterThan(0.2);
    expect(worst).toBeLessThanOrEqual(1);
  }, 3_600_000);

  it.runIf(label in recipes)("holds for the golden cases", () => {
    for (const { name, q, k, v, options, tensors } of golden()) {
      if ([q, k, v].some(({ data }) => data instanceof Float64Array)) continue;
      const problem = createProblem(q, k, v, { ...options, precision });
      const bounds = forwardBounds(problem, quantised(FLOAT32), FLOAT64);
      for (const runtime of runtimes) {
        const got = runtime.sync.attention(q, k, v, { ...options, precision, lse: true });
        for (const [output, tensor] of [["o", got.out], ["lse", got.lse!]] as const) {
          const { ok, at } = compare(
            output,
            tensors.get(output)!,
            tensor,
            bounds[output === "o" ? "out" : "lse"],
          );
          expect({ name, output, at, ok }).toMatchObject({ ok: true });
        }
      }
    }
  }, 120_000);

  it.each([512, 576, 1024])("every code at its limit, D = %i: the sums are those of exact attention", (D) => {
    // Rows of ±1 alone: all codes are ±L, scores ±L²·D·units, and a tile's P is `top` 64 times over.
    const recipe = resolvePrecision(precision)!;
    const plain = { ...recipe, smoothK: false, smoothV: false };
    const ones = (rows: number, columns: number, sign: (row: number) => number): Made => ({
      data: Float32Array.from({ length: rows * columns }, (_, at) => sign(Math.floor(at / columns))),
      shape: [1, 1, rows, columns],
    });
    const q = ones(5, D, (i) => i & 1 ? -1 : 1);
    const k = ones(130, D, (j) => j === 70 ? -1 : 1);
    const v = ones(130, 20, (j) => j < 64 ? 1 : -1);
    for (const scale of [0, 1 / D, 4 / D, 100]) {
      const options = { scale, precision: plain };
      check(q, k, v, options);
      // The oracle of the same precision has the same codes: nothing but rounding lies between.
      const oracle = reference(q, k, v, options).out.data;
      for (const runtime of runtimes) {
        const got = runtime.sync.attention(q, k, v, options).out.data;
        Array.from(got).forEach((x, at) =>
          expect(Math.abs(Number(x) - Number(oracle[at]))).toBeLessThan(2 ** -16)
        );
      }
    }
  });
});
