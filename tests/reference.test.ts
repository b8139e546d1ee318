/** The oracle: the shared suite row by row and at several tiles, and the golden cases. */
import { describe, expect, it } from "vitest";
import { attention, attentionTiled } from "../src/reference/index.ts";
import { attentionSuite } from "./suites/attention.ts";
import { sample } from "./suites/cases.ts";
import { toFloat64, view } from "../src/tensor.ts";
import { float64Bounds, golden, storage } from "./support/golden.ts";
import { formula } from "./support/formula.ts";
import { beyond, wide } from "./support/tensors.ts";

/** src/reference/math.ts promises 0.53 ulp, and an ulp is at most 2u. */
const float64 = { u: 2 ** -53, exp: 1.1, tanh: 1.1, least: 2 ** -1022 };

attentionSuite("reference attention", attention, float64);
for (const [Br, Bc] of [[1, 1], [3, 5], [16, 16], [64, 128]]) {
  attentionSuite(
    `reference attention in tiles of ${Br} × ${Bc}`,
    (q, k, v, options) => attentionTiled(q, k, v, options, { Br, Bc }),
    { ...float64, without: ["probabilities"] },
  );
}

describe("golden cases", () => {
  const cases = golden();

  it("there are 147", () => expect(cases.length).toBe(147));

  for (const example of cases) {
    it(example.name, () => {
      const { q, k, v, options, tensors } = example;
      const bounds = float64Bounds(example);
      for (const implementation of [attention, attentionTiled]) {
        const got = implementation(q, k, v, { ...options, lse: true });
        for (
          const [tensor, expected, bound] of [
            [got.out, tensors.get("o")!, bounds.out],
            [got.lse!, tensors.get("lse")!, bounds.lse],
          ] as const
        ) {
          const want = Float64Array.from(expected.data as Float64Array);
          const rounding = storage(expected);
          expect(tensor.shape).toEqual(expected.shape);
          expect(beyond(tensor.data, want, bound.map((limit, x) => limit + rounding(want[x])))).toEqual([]);
        }
      }
    });
  }
});

describe("row by row and tile by tile", () => {
  // x is computed alike; l and P·V differ in the order of M sums and by M/Bc rescales of three roundings each. n
  // random roundings of up to u leave 3√n·u with a probability above 0.99 (Higham and Mary 2019, theorem 2.4), in l
  // and in P·V, relative to Σ p|v|.
  it("agree to a few ulp", () => {
    const M = 200;
    const Bc = 16;
    const few = 2 * 3 * Math.sqrt(M + 3 * M / Bc) * 2 ** -53;
    const [q, k, v] = sample([1, 4, 2, 50, M, 32, 16], 5).map(wide);
    for (const options of [{}, { causal: true }, { softcap: 2, sink: [1, 2, 3, 4] }]) {
      const want = attention(q, k, v, { ...options, lse: true });
      const got = attentionTiled(q, k, v, { ...options, lse: true }, { Br: 16, Bc });
      const sizes = { data: v.data.map(Math.abs), shape: v.shape };
      const size = attention(q, k, sizes, options).out.data as Float64Array;
      expect(beyond(got.out.data, want.out.data as Float64Array, size.map((x) => few * x))).toEqual([]);
      const lse = want.lse!.data as Float64Array;
      expect(beyond(got.lse!.data, lse, lse.map((x) => few + 2 ** -52 * Math.abs(x)))).toEqual([]);
    }
  });

  it("tiles are integers ≥ 1, and have no probabilities", () => {
    const [q, k, v] = sample([1, 1, 1, 1, 1, 1, 1], 1);
    for (const Br of [0, -1, 1.5, NaN]) {
      expect(() => attentionTiled(q, k, v, {}, { Br, Bc: 4 })).toThrow(
        `tile.Br: expected an integer from 1 to 9007199254740991, got ${Br}`,
      );
    }
    expect(() => attentionTiled(q, k, v, { probabilities: true })).toThrow(RangeError);
  });
});

describe("accuracy", () => {
  it("float32 results of float64 arithmetic are correctly rounded unless a tie is near", () => {
    const [q, k, v] = sample([1, 2, 1, 20, 40, 16, 8], 6);
    const { out } = attention(q, k, v, { out: "float32" });
    const want = formula(q, k, v);
    expect(out.dtype).toBe("float32");
    expect(beyond(out.data, want.out, want.out.map((x, at) => Math.abs(x) * 2 ** -24 + want.outBound[at])))
      .toEqual([]);
    for (const [dtype, u] of [["float16", 2 ** -11], ["bfloat16", 2 ** -8]] as const) {
      const low = attention(q, k, v, { out: dtype }).out;
      expect(low.data).toBeInstanceOf(Uint16Array);
      expect(low.dtype).toBe(dtype);
      const numbers = toFloat64(view("out", low));
      expect(beyond(numbers, want.out, want.out.map((x) => Math.abs(x) * u * (1 + 2 ** -20) + 2 ** -25)))
        .toEqual([]);
    }
  });
});
