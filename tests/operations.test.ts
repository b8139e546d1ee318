/**
 * softmax, applyRotary and scores of a runtime against float64, on both builds and the scalar twins, and what they say
 * of wrong arguments. Bounds are those of src/onnx/evaluations.ts (KERNELS) and src/verify/bounds.ts.
 */
import { describe, expect, it } from "vitest";
import { BY_KERNELS } from "../src/onnx/evaluations.ts";
import { softmax as softmax64 } from "../src/onnx/softmax.ts";
import { applyRotary as applyRotaryKernel } from "../src/ops/rotary.ts";
import { scores as scoresKernel } from "../src/ops/scores.ts";
import { softmax as softmaxKernel } from "../src/ops/softmax.ts";
import type { AttentionOptions } from "../src/options.ts";
import { createProblem } from "../src/problem.ts";
import { exp, log } from "../src/reference/math.ts";
import { applyRotary, attention } from "../src/reference/index.ts";
import { createRotary } from "../src/rotary.ts";
import { createRuntime } from "../src/runtime.ts";
import { scoreSteps } from "../src/onnx/steps.ts";
import { sizeOf, view } from "../src/tensor.ts";
import { FLOAT32 } from "../src/verify/arithmetic.ts";
import { forwardBounds } from "../src/verify/bounds.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";
import { deterministicFull as deterministic, relaxedFull as relaxed } from "../src/wasm/full.ts";
import { type Engine, instantiate } from "../src/wasm/load.ts";
import { scalarEngine } from "../src/wasm/table.ts";
import { beyond, coin, normal } from "./support/tensors.ts";

const U = 2 ** -24;
const simd = instantiate(deterministic);
const engines: [string, Engine][] = [["deterministic", simd], ["scalar", scalarEngine(simd)]];
if (hasRelaxedSimd()) engines.push(["relaxed", instantiate(relaxed)]);

describe.each(engines)("softmax, %s", (_name, engine) => {
  const shapes: [number[], number][] = [
    ...[1, 2, 3, 4, 5, 17, 64, 1000].map((n): [number[], number] => [[3, n], -1]),
    ...[1, 2, 3, 4, 5, 9, 33].map((n): [number[], number] => [[2, 7, n], 1]),
    [[5, 4, 3, 2], 0],
    [[70000], 0],
    [[2, 20000, 5], 1],
    [[9000, 13], -1],
    [[0, 4], 1],
    [[4, 0], 0],
  ];
  for (const [shape, axis] of shapes) {
    it(`of [${shape}] along ${axis}`, () => {
      const x = normal(shape.length + axis, shape, 12);
      const at = axis < 0 ? axis + shape.length : axis;
      const [count, inner] = [shape[at], sizeOf(shape.slice(at + 1))];
      const y = softmaxKernel(engine, view("x", x), { axis });
      const z = softmaxKernel(engine, view("x", x), { axis, log: true });
      expect([y.shape, z.shape, y.data.length]).toEqual([shape, shape, sizeOf(shape)]);
      const want = new Float64Array(y.data.length), bound = want.slice();
      const wantLog = want.slice(), boundLog = want.slice();
      for (let s = 0; s < sizeOf(shape) / count; s++) {
        const start = Math.floor(s / inner) * count * inner + s % inner;
        const row = Array.from({ length: count }, (_, i) => x.data[start + i * inner]);
        const m = row.reduce((most, v) => Math.max(most, v), -Infinity);
        const sum = row.reduce((total, v) => total + exp(v - m), 0);
        // x − m, log2 e and their product round, exp2 errs by 5u, count additions, the division; of e and of the sum.
        const relative = U * (2 * 3 * 100 + 2 * 5 + count + 2);
        row.forEach((v, i) => {
          const at = start + i * inner;
          want[at] = exp(v - m) / sum;
          bound[at] = relative * want[at] + 2 ** -126;
          wantLog[at] = v - m - log(sum);
          boundLog[at] = relative + U * (2 * Math.abs(v - m) + 2 * Math.abs(wantLog[at]));
        });
      }
      expect(beyond(y.data, want, bound)).toEqual([]);
      expect(beyond(z.data, wantLog, boundLog)).toEqual([]);
    });
  }

  it("keeps −∞, ∞ and NaN where they belong", () => {
    const { POSITIVE_INFINITY: inf, NaN: nan } = Number;
    const rows = [[0, -inf, 0], [-inf, -inf, -inf], [0, nan, -inf], [0, inf, -inf], [-3e38, 3e38, 3e38]];
    const data = Float32Array.from(rows.flat());
    const y = softmaxKernel(engine, view("x", { data, shape: [5, 3] }));
    expect(Array.from(y.data)).toEqual([0.5, 0, 0.5, nan, nan, nan, nan, nan, 0, nan, nan, 0, 0, 0.5, 0.5]);
    const z = softmaxKernel(engine, view("x", { data, shape: [5, 3] }), { log: true });
    expect(Array.from(z.data.slice(3, 12), Number.isNaN)).toEqual(new Array(9).fill(true));
    const half = Math.fround(-Math.LN2);
    expect(Array.from(z.data.slice(0, 3))).toEqual([half, -inf, half]);
    expect(Array.from(softmax64({ input: { data, shape: [5, 3] } }).output.data as Float32Array)).toEqual(
      Array.from(y.data),
    );
  });

  it("gives its twin's bits, whatever lies beside a slice", () => {
    const x = normal(3, [6, 50], 9);
    const want = softmaxKernel(simd, view("x", x));
    if (engine.name === "deterministic") expect(softmaxKernel(engine, view("x", x))).toEqual(want);
    const one = { data: x.data.slice(150, 200), shape: [1, 50] };
    expect(softmaxKernel(engine, view("x", one)).data)
      .toEqual(softmaxKernel(engine, view("x", x)).data.slice(150, 200));
  });
});

describe.each(engines)("applyRotary, %s", (_name, engine) => {
  const cos = normal(1, [90, 4]), sin = normal(2, [90, 4]);
  for (const layout of ["bhnd", "bnhd"] as const) {
    for (const interleaved of [false, true]) {
      it(`${layout}, ${interleaved ? "pairs" : "halves"}`, () => {
        const shape = layout === "bhnd" ? [2, 3, 40, 11] : [2, 40, 3, 11];
        const x = normal(3, shape);
        for (const positions of [0, 50, Int32Array.from({ length: 80 }, (_, n) => n * 37 % 90)]) {
          const where = typeof positions === "number" ? positions : { data: positions, shape: [2, 40] };
          const tables = { cos, sin, positions: where, interleaved, layout };
          const want = applyRotary(x, tables).data;
          const got = applyRotaryKernel(engine, createRotary(x, tables));
          expect(got.shape).toEqual(shape);
          // Two products and a sum of numbers below 6.
          expect(beyond(got.data, Array.from(want, Number), 1.5 * U * 2 * 36)).toEqual([]);
        }
      });
    }
  }

  it("takes long and strided tensors in little memory", () => {
    const own = instantiate(deterministic);
    const N = 5000;
    const x = normal(1, [1, N, 2, 64]);
    const angles = normal(2, [N, 32]);
    const tables = { cos: angles, sin: angles, layout: "bhnd" as const };
    const swapped = { ...x, shape: [1, 2, N, 64], strides: [0, 64, 128, 1] };
    const got = applyRotaryKernel(own, createRotary(swapped, tables));
    expect(beyond(got.data, Array.from(applyRotary(swapped, tables).data, Number), 1.5 * U * 2 * 36)).toEqual(
      [],
    );
    expect(own.arena.size).toBeLessThan(2e6);
  });
});

describe.each(engines)("scores, %s", (_name, engine) => {
  const [q, k] = [normal(1, [2, 4, 19, 8]), normal(2, [2, 2, 130, 8])];
  const cases: AttentionOptions[] = [
    {},
    { causal: true, scale: 0.7 },
    { scale: -0.3, window: [5, 40] },
    { softcap: 1.5, mask: coin(3, [19, 130], 0.5), keyLengths: [130, 70] },
    { bias: normal(4, [4, 1, 130]), scale: 0 },
  ];
  it.each(cases)("%j", (options) => {
    const problem = createProblem(q, k, k, options);
    for (const stage of ["raw", "capped", "biased"] as const) {
      const got = scoresKernel(engine, problem, stage);
      expect(got.shape).toEqual([2, 4, 19, 130]);
      const { lo, hi } = scoreSteps(problem, BY_KERNELS.scores, stage);
      const middle = lo.map((x, n) => x === hi[n] ? x : (x + hi[n]) / 2);
      // A negative scale is on neither end of the enclosure's terms.
      const radius = lo.map((x, n) => x === hi[n] ? 0 : Math.abs(hi[n] - x) / 2 + 2 ** -149);
      expect(beyond(got.data, middle, radius)).toEqual([]);
    }
    const weights = scoresKernel(engine, problem, "weights");
    const want = attention(q, k, k, { ...options, probabilities: true }).probabilities!.data;
    const { probabilities } = forwardBounds(
      { ...problem, want: { ...problem.want, probabilities: true } },
      FLOAT32,
    );
    expect(beyond(weights.data, Array.from(want, Number), probabilities!.map((b) => b + 2 ** -50))).toEqual(
      [],
    );
  });
});

describe("runtime", () => {
  const x = normal(1, [2, 3]);
  it("has them as promises and blocking", async () => {
    const rt = await createRuntime();
    expect(await rt.softmax(x, { axis: 0 })).toEqual(rt.sync.softmax(x, { axis: 0 }));
    const heads = normal(1, [1, 2, 3, 4]);
    const tables = { cos: normal(2, [3, 2]), sin: normal(3, [3, 2]) };
    expect(await rt.applyRotary(heads, tables)).toEqual(rt.sync.applyRotary(heads, tables));
    expect(await rt.scores(heads, heads)).toEqual(rt.sync.scores(heads, heads));
    expect(rt.sync.scores(heads, heads, { stage: "weights", causal: true }).shape).toEqual([1, 2, 3, 3]);
    rt.close();
    expect(() => rt.sync.softmax(x)).toThrow("runtime: used after close()");
    await expect(rt.softmax(x)).rejects.toThrow("runtime: used after close()");
  });

  it("refuses", async () => {
    const rt = await createRuntime();
    const heads = normal(1, [1, 2, 3, 4]);
    const double = { data: new Float64Array(6), shape: [2, 3] };
    expect(() => rt.sync.softmax(x, { axis: 2 })).toThrow(/^axis: expected an integer from -2 to 1, got 2$/);
    expect(() => rt.sync.softmax(x, { axis: 0.5 })).toThrow(/^axis: expected an integer/);
    expect(() => rt.sync.softmax(x, { log: 1 as never })).toThrow(/^log: expected false, true/);
    expect(() => rt.sync.softmax(double)).toThrow(/^float64 inputs: not available in the kernels/);
    const table = { data: new Float64Array(6), shape: [3, 2] };
    expect(() => rt.sync.applyRotary(heads, { cos: table, sin: table })).toThrow(/^float64 inputs: /);
    expect(() => rt.sync.scores(heads, heads, { stage: "all" as never })).toThrow(
      /^stage: expected "raw", "capped", "biased", "weights", got "all"$/,
    );
    rt.close();
  });
});
