/**
 * Quantised attention in the oracle: its parts against the papers' words, the whole against a second writing, every
 * option through the suite, and each trap that the published code fell into.
 */
import { describe, expect, it } from "vitest";
import { E4M3, E5M2 } from "../src/codecs.ts";
import { codeError } from "../src/verify/codeerror.ts";
import { integerLimit, valueLimits } from "../src/limits.ts";
import { type Granularity, type Recipe, sage } from "../src/precision.ts";
import { recipes } from "../src/recipes.ts";
import { attention, attentionTiled } from "../src/reference/index.ts";
import { groupsOfK, groupsOfQ, groupsOfTiles } from "../src/reference/groups.ts";
import { floats, integers, nvfp4, quantise } from "../src/reference/quantise.ts";
import { quantiseValues } from "../src/reference/sagevalues.ts";
import { truncate22 } from "../src/reference/sageweights.ts";
import { FLOAT64 } from "../src/verify/arithmetic.ts";
import { attentionSuite } from "./suites/attention.ts";
import { sample } from "./suites/cases.ts";
import { quantisedSuite } from "./suites/quantised.ts";
import { biased } from "./support/recipes.ts";
import { type Published, published } from "./support/sageformula.ts";
import { beyond, coin, type Made, normal } from "./support/tensors.ts";

const base = sage({ granularity: "token" });
const numbers = (x: { data: ArrayLike<number | bigint> }) => Float64Array.from(x.data as ArrayLike<number>);
const worst = (a: { data: ArrayLike<number | bigint> }, b: { data: ArrayLike<number | bigint> }) =>
  numbers(a).reduce((most, x, at) => Math.max(most, Math.abs(x - Number(b.data[at]))), 0);

/** Nothing quantised, everything through the quantised path: P·V by tiles of 64, smoothing of V without effect. */
attentionSuite(
  "reference attention by the quantised pipeline, nothing quantised",
  (q, k, v, options) => attention(q, k, v, { ...options, precision: { qk: "float32", pv: "float32" } }),
  { u: 2 ** -53, exp: 1.1, tanh: 1.1, least: 2 ** -1022 },
);

describe("groups", () => {
  const rowsOf = (groups: { count: number; of(row: number, column: number): number }, rows: number) => {
    const lists = Array.from({ length: groups.count }, (): number[] => []);
    for (let row = 0; row < rows; row++) lists[groups.of(row, 0)].push(row);
    return lists;
  };

  it("threads of Q hold rows equal mod 8 in their warp", () => {
    const lists = rowsOf(groupsOfQ("thread", 300, base), 300);
    // ⌈300/128⌉ blocks of 4 warps of 8 threads
    expect(lists.length).toBe(96);
    expect(lists[0]).toEqual([0, 8, 16, 24]);
    expect(lists[7]).toEqual([7, 15, 23, 31]);
    expect(lists[8]).toEqual([32, 40, 48, 56]);
    expect(lists[8 * 4 + 3]).toEqual([131, 139, 147, 155]);
    expect(lists[8 * 9 + 3]).toEqual([291, 299]);
    expect(lists[95]).toEqual([]);
    expect(rowsOf(groupsOfQ("thread", 40, { ...base, warpQ: 16 }), 40)[9]).toEqual([17, 25]);
  });

  it("threads of K hold rows 2t and 2t + 1 mod 8 of their block", () => {
    const lists = rowsOf(groupsOfK("thread", 100, base), 100);
    expect(lists.length).toBe(8);
    expect(lists[1]).toEqual([2, 3, 10, 11, 18, 19, 26, 27, 34, 35, 42, 43, 50, 51, 58, 59]);
    expect(lists[6]).toEqual([68, 69, 76, 77, 84, 85, 92, 93]);
  });

  it("warps of Q are 32 rows, blocks 128 of Q and 64 of K", () => {
    const count = (granularity: Granularity) =>
      [groupsOfQ, groupsOfK].map((of) => rowsOf(of(granularity, 200, base), 200).map((list) => list.length));
    expect(count("warp")).toEqual([[32, 32, 32, 32, 32, 32, 8, 0], [64, 64, 64, 8]]);
    expect(count("block")).toEqual([[128, 72], [64, 64, 64, 8]]);
    expect(count("tensor")).toEqual([[200], [200]]);
    expect(count("token").map((lists) => lists.length)).toEqual([200, 200]);
    // A block that isn't a whole number of warps keeps its last warp to itself.
    const odd = rowsOf(groupsOfQ("warp", 100, { ...base, blockQ: 40 }), 100);
    expect(odd.map((list) => list.length)).toEqual([32, 8, 32, 8, 20, 0]);
  });

  it("channels of V, and sixteens", () => {
    const v = groupsOfTiles(130, 3, 64, 1);
    expect([v.count, v.of(0, 2), v.of(63, 0), v.of(64, 0), v.of(129, 1)]).toEqual([9, 2, 0, 3, 7]);
    const along = groupsOfTiles(2, 40, 1, 16);
    expect([along.count, along.of(0, 15), along.of(0, 16), along.of(1, 39)]).toEqual([6, 0, 1, 5]);
    const rows = groupsOfTiles(40, 2, 16, 1);
    expect([rows.count, rows.of(15, 1), rows.of(16, 0), rows.of(39, 1)]).toEqual([6, 1, 2, 5]);
  });
});

describe("quantisers", () => {
  const one = { count: 1, of: () => 0 };
  const run = (x: number[], grid: Parameters<typeof quantise>[2]) =>
    quantise(Float64Array.from(x), x.length, grid, one, () => true);

  it("round ties away from zero, or to even", () => {
    // amax = 127: the scale is 1, and halves are exact
    const x = [127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.25, -126.5];
    const away = run(x, integers(127, "half-away"));
    const even = run(x, integers(127, "half-even"));
    expect(away.scales[0]).toBe(1);
    expect(Array.from(away.codes)).toEqual([127, 1, 2, 3, -1, -2, -3, 0, -127]);
    expect(Array.from(even.codes, (code) => code + 0)).toEqual([127, 0, 2, 2, 0, -2, -2, 0, -126]);
  });

  it("never make −128, nor anything beyond the limit, at any magnitude", () => {
    for (const limit of [7, 127, 2047, 5792, 32767]) {
      for (const rounding of ["half-away", "half-even"] as const) {
        for (let e = -126; e <= 127; e++) {
          const amax = Math.fround(2 ** e * (1 + (e * 37 % 101 + 101) % 101 / 101));
          const { codes } = run([amax, -amax], integers(limit, rounding));
          // Below limit·2^−126 the scale stays where it is.
          if (amax >= limit * 2 ** -126) expect([codes[0], codes[1]]).toEqual([limit, -limit]);
          else expect(Math.max(...codes.map(Math.abs))).toBeLessThanOrEqual(limit);
        }
      }
    }
  });

  it("make zeros of a group of zeros, and of almost zeros", () => {
    for (const grid of [integers(127, "half-away"), integers(127, "half-even"), floats(E4M3), nvfp4]) {
      for (const x of [[0, 0, -0], [2 ** -149, 0, -(2 ** -149)]]) {
        const { codes, scales } = run(x, grid);
        expect(Array.from(codes, Math.abs)).toEqual([0, 0, 0]);
        expect(scales[0]).toBe(grid === nvfp4 ? 0 : 2 ** -126);
      }
    }
  });

  it("stay within the error they promise", () => {
    const x = normal(5, [400], 3);
    const grids = [7, 127, 2047].flatMap((limit) =>
      (["half-away", "half-even"] as const).map((rounding) => ["int8", integers(limit, rounding)] as const)
    );
    for (
      const [type, grid] of [
        ...grids,
        ["fp8", floats(E4M3)] as const,
        ["fp8", floats(E4M3, 2.25)] as const,
        ["fp8e5m2", floats(E5M2)] as const,
        ["fp4", nvfp4] as const,
      ]
    ) {
      const { codes, scales } = run(Array.from(x.data), grid);
      const error = codeError(type, grid.top);
      x.data.forEach((value, at) => {
        expect(Math.abs(codes[at] * scales[0] - value)).toBeLessThanOrEqual(error(value, scales[0]));
      });
      // and come near it: half a step at least in one of 400
      const ratio = Array.from(
        x.data,
        (value, at) => Math.abs(codes[at] * scales[0] - value) / error(value, scales[0]),
      );
      expect(Math.max(...ratio)).toBeGreaterThan(0.8);
    }
  });

  it("E4M3's largest magnitude becomes 448, NVFP4's 6", () => {
    const fp8 = run([3, -1, 0.01], floats(E4M3));
    expect([fp8.codes[0], fp8.codes[1]]).toEqual([448, -144]);
    const fp4 = run([48, -16, 1], nvfp4);
    expect([fp4.scales[0], ...fp4.codes]).toEqual([8, 6, -2, 0]);
    // amax/6 is rounded to E4M3 first: 10/6 → 1.625, and 10/1.625 → 6
    const rounded = run([10, 5], nvfp4);
    expect([rounded.scales[0], ...rounded.codes]).toEqual([1.625, 6, 3]);
  });

  it("what doesn't count is in no scale", () => {
    const { codes, scales } = quantise(
      Float64Array.from([1, 1e30, NaN, -2]),
      1,
      integers(127, "half-even"),
      one,
      (row) => row === 0 || row === 3,
    );
    expect(scales[0]).toBe(Math.fround(2 / 127));
    expect(Array.from(codes)).toEqual([64, 0, 0, -127]);
  });
});

describe("no 32-bit sum overflows", () => {
  const MOST = 2n ** 31n - 1n;

  it("of D products of codes of Q and K, for any D, and one code more would", () => {
    for (let D = 1; D <= 4096; D++) {
      for (const type of ["int4", "int8", "int12", "int16"] as const) {
        const limit = BigInt(integerLimit(type, D));
        expect(limit * limit * BigInt(D) <= MOST).toBe(true);
        if (type === "int16" && limit < 32767n) expect((limit + 1n) ** 2n * BigInt(D) > MOST).toBe(true);
      }
    }
    expect([1, 64, 512, 513, 576].map((D) => integerLimit("int12", D))).toEqual([
      2047,
      2047,
      2047,
      2046,
      1930,
    ]);
    expect([64, 128, 256].map((D) => integerLimit("int16", D))).toEqual([5792, 4095, 2896]);
    expect(integerLimit("int8", 100_000)).toBe(127);
  });

  it("of the 64 products of a tile of P and V", () => {
    for (const { p, v } of Object.values(valueLimits)) expect(BigInt(p) * BigInt(v) * 64n <= MOST).toBe(true);
    // two-level fp16: 448·2.25·64 stays below float16's 65504
    expect(448 * 2.25 * 64).toBeLessThan(65504);
  });

  it("at the extreme: all codes at their limit", () => {
    const D = 576;
    const full = { data: new Float32Array(70 * D).fill(1), shape: [1, 1, 70, D] };
    for (const qk of ["int16", "int12", "int8", "int4"] as const) {
      const precision = sage({ qk, granularity: "token", smoothK: false, smoothQ: false, pv: "int16" });
      const { out, lse } = attention(full, full, full, { precision, lse: true });
      // q = k = 1 everywhere: codes are ±limit, S = D exactly up to the rounding of the scales
      expect(worst(out, { data: new Float64Array(70 * D).fill(1) })).toBeLessThan(1e-3);
      expect(Math.abs(Number(lse!.data[0]) - (Math.sqrt(D) + Math.log(70)))).toBeLessThan(1e-5);
    }
  });
});

describe("against a second writing", () => {
  const range = (from: number, to: number, step = 1) =>
    Array.from({ length: Math.ceil((to - from) / step) }, (_, n) => from + n * step);
  const token = (n: number) => range(0, n).map((row) => [row]);
  const blocks = (n: number, size: number) => range(0, n, size).map((first) => range(first, first + size));
  const threadsQ = (n: number) =>
    range(0, n, 32).flatMap((first) => range(0, 8).map((t) => range(0, 4).map((r) => first + t + 8 * r)));
  const threadsK = (n: number) =>
    range(0, n, 64).flatMap((first) =>
      range(0, 4).map((t) => range(0, 8).flatMap((r) => [first + 8 * r + 2 * t, first + 8 * r + 2 * t + 1]))
    );
  const matrix = ({ data, shape }: Made): number[][] =>
    range(0, shape[2]).map((row) => Array.from(data.slice(row * shape[3], (row + 1) * shape[3])));

  type Case = [string, Recipe, (N: number, M: number) => Omit<Published, "bits">];
  const plain = {
    ...{ ties: "away", smoothK: true, smoothV: false, pv: "exact" } as const,
    blocksQ: [] as number[][],
  };
  const cases: Case[] = [
    ["int8 per token", sage({ granularity: "token", pv: "float32" }), (N, M) => ({
      ...plain,
      groupsQ: token(N),
      groupsK: token(M),
    })],
    [
      "int8 per block, no smoothing, ties to even",
      sage({
        granularity: "block",
        rounding: "half-even",
        smoothK: false,
        pv: "float32",
      }),
      (N, M) => ({ ...plain, ties: "even", smoothK: false, groupsQ: blocks(N, 128), groupsK: blocks(M, 64) }),
    ],
    ["int4 per thread, Q smoothed by block", sage({ qk: "int4", pv: "float32" }), (N, M) => ({
      ...plain,
      blocksQ: blocks(N, 128),
      groupsQ: threadsQ(N),
      groupsK: threadsK(M),
    })],
    ["int8 per warp, P and V in E4M3", sage({ granularity: "warp", accumulator: "float32" }), (N, M) => ({
      ...plain,
      pv: "e4m3",
      groupsQ: blocks(N, 32),
      groupsK: blocks(M, 64),
    })],
    [
      "int12 per token, P and V in int8, V smoothed",
      sage({
        qk: "int12",
        granularity: "token",
        pv: "int8",
        smoothV: true,
      }),
      (N, M) => ({ ...plain, pv: "int8", smoothV: true, groupsQ: token(N), groupsK: token(M) }),
    ],
  ];
  for (const [title, recipe, how] of cases) {
    for (const [N, M, causal] of [[33, 60, false], [150, 150, true], [5, 200, true]] as const) {
      if (M > 64 && recipe.pv !== "float32") continue;
      it(`${title}, N = ${N}, M = ${M}${causal ? ", causal" : ""}`, () => {
        const [q, k, v] = [
          normal(1, [1, 1, N, 20]),
          biased(normal(2, [1, 1, M, 20]), 5),
          normal(3, [1, 1, M, 6]),
        ];
        const bits = recipe.qk === "int4" ? 4 : recipe.qk === "int8" ? 8 : 12;
        const want = published(matrix(q), matrix(k), matrix(v), { ...how(N, M), bits }, causal);
        const got = attention(q, k, v, { precision: recipe, causal, lse: true });
        expect(beyond(got.out.data, want.out.flat(), 1e-12)).toEqual([]);
        expect(beyond(got.lse!.data, want.lse, 1e-12)).toEqual([]);
      });
    }
  }
});

/** Bit for bit. */
function same(a: { data: ArrayLike<number | bigint> }, b: { data: ArrayLike<number | bigint> }): void {
  expect(numbers(a)).toEqual(numbers(b));
}

for (const [name, recipe] of Object.entries(recipes)) {
  if (recipe) quantisedSuite(`reference attention, ${name}`, attention, recipe, { arithmetic: FLOAT64 });
}

describe("published traps", () => {
  it("causal with N ≠ M is bottom-right: a decoded token gets what the prefill gave it", () => {
    const precision = sage({ qk: "int8", granularity: "token", pv: "int12", smoothQ: false });
    const [q, k, v] = sample([1, 2, 1, 90, 90, 16, 8], 15);
    const all = attention(q, k, v, { precision, causal: true });
    const last = { data: q.data, shape: [1, 2, 3, 16], strides: [2880, 1440, 16, 1], offset: 87 * 16 };
    const some = attention(last, k, v, { precision, causal: true });
    for (let h = 0; h < 2; h++) {
      expect(numbers(some.out).slice(h * 24, h * 24 + 24))
        .toEqual(numbers(all.out).slice((h * 90 + 87) * 8, (h * 90 + 90) * 8));
    }
  });

  it("a mask is never dropped: it is the same as keys that aren't there", () => {
    const precision = sage({ granularity: "token", smoothV: true });
    const [q, k, v] = sample([1, 1, 1, 9, 60, 16, 8], 16);
    const mask = coin(17, [1, 1, 1, 60], 0.5);
    const keep = Array.from({ length: 60 }, (_, j) => j).filter((j) => mask.data[j]);
    const only = ({ data, shape }: Made): Made => ({
      data: Float32Array.from(keep.flatMap((j) => Array.from(data.slice(j * shape[3], (j + 1) * shape[3])))),
      shape: [1, 1, keep.length, shape[3]],
    });
    const got = attention(q, k, v, { precision, mask, lse: true });
    const want = attention(q, only(k), only(v), { precision, lse: true });
    // fp8 products are summed 32 keys at a time, and these are other 32
    expect(worst(got.out, want.out)).toBeLessThan(1e-3);
    expect(worst(got.lse!, want.lse!)).toBeLessThan(1e-14);
  });

  it("a bias is in natural units, −∞ masks", () => {
    const precision = sage({ qk: "int12", granularity: "token", pv: "float32" });
    const [q, k, v] = sample([1, 1, 1, 9, 60, 16, 8], 18);
    const bias = normal(19, [9, 60], 2);
    bias.data[5] = bias.data[70] = -Infinity;
    const got = attention(q, k, v, { precision, bias });
    expect(worst(got.out, attention(q, k, v, { bias }).out)).toBeLessThan(2e-3);
  });

  it("a softcap and a sink see the mean that smoothing took from K", () => {
    const precision = sage({ qk: "int12", granularity: "token", pv: "float32" });
    const [q, k0, v] = sample([1, 1, 1, 9, 70, 16, 8], 20);
    const k = biased(k0, 8);
    for (const options of [{ softcap: 2 }, { sink: [3] }, { softcap: 5, sink: [1], causal: true }]) {
      const want = attention(q, k, v, { ...options, lse: true });
      const got = attention(q, k, v, { ...options, precision, lse: true });
      expect(worst(got.out, want.out)).toBeLessThan(4e-3);
      expect(worst(got.lse!, want.lse!)).toBeLessThan(4e-3);
    }
  });

  it("smoothing pays where channels are biased", () => {
    const error = (k: Made, v: Made, precision: Recipe) => {
      const q = normal(21, [1, 1, 40, 32]);
      return worst(attention(q, k, v, { precision }).out, attention(q, k, v).out);
    };
    const [k, v] = [normal(22, [1, 1, 200, 32]), normal(23, [1, 1, 200, 8])];
    const int8 = { qk: "int8", granularity: "token", pv: "float32" } as const;
    expect(error(biased(k, 20), v, sage({ ...int8, smoothK: true })))
      .toBeLessThan(error(biased(k, 20), v, sage({ ...int8, smoothK: false })) / 5);
    const fp8 = { qk: "int12", granularity: "token", pv: "fp8" } as const;
    expect(error(k, biased(v, 20), sage({ ...fp8, smoothV: true })))
      .toBeLessThan(error(k, biased(v, 20), sage({ ...fp8, smoothV: false })) / 5);
  });
});

describe("P's scale", () => {
  it("by tile keeps the keys that a sink far above them would round away", () => {
    // Key 0 has e^10 times the weight of any other: together these weigh as much as 1/5 of it.
    const [q, k] = [normal(30, [1, 1, 4, 16], 0.1), normal(31, [1, 1, 4096, 16], 0.1)];
    for (let i = 0; i < 4; i++) q.data[i * 16] = 8;
    for (let j = 0; j < 4096; j++) k.data[j * 16] = j === 0 ? 5 : 0;
    const v = biased(normal(32, [1, 1, 4096, 8]), 3);
    const want = attention(q, k, v).out;
    const error = (options: Parameters<typeof sage>[0]) => {
      const precision = sage({ qk: "float32", vScale: "tile", ...options });
      return worst(attention(q, k, v, { precision }).out, want);
    };
    for (const pv of ["int8", "int12", "int16"] as const) {
      const [row, tile] = [error({ pv, pScale: "row" }), error({ pv, pScale: "tile" })];
      expect(tile).toBeLessThan(row / 20);
    }
    expect(error({ pv: "int12", pScale: "row" })).toBeGreaterThan(0.1);
    // What is left are the 63 keys of the sink's own tile.
    expect(error({ pv: "int12", pScale: "tile" })).toBeLessThan(0.01);
  });
});

describe("sums of tensor cores", () => {
  it("22 bits are a float32 with 13 bits of mantissa, the rest cut off", () => {
    expect(truncate22(1 + 2 ** -13)).toBe(1 + 2 ** -13);
    expect(truncate22(1 + 2 ** -13 + 2 ** -14)).toBe(1 + 2 ** -13);
    expect(truncate22(-(1 + 2 ** -14))).toBe(-1);
    expect(truncate22(0)).toBe(0);
    expect(truncate22(448 * 448 * 64 + 1)).toBe(448 * 448 * 64);
  });

  it("one register for the whole sum loses most of what two levels keep", () => {
    // Flat attention over many keys: the sum grows while what is added stays small.
    const q = { data: new Float32Array(16), shape: [1, 1, 1, 16] };
    const [k, v0] = [normal(24, [1, 1, 8192, 16]), normal(25, [1, 1, 8192, 8])];
    const v = { data: v0.data.map(Math.abs), shape: v0.shape };
    const error = (accumulator: Recipe["accumulator"]) => {
      const exact = attention(q, k, v, { precision: sage({ accumulator: "float32" }) });
      return worst(attention(q, k, v, { precision: sage({ accumulator }) }).out, exact.out);
    };
    const [one, two] = [error("fp22"), error("fp32+fp32")];
    expect(error("float32")).toBe(0);
    expect(two).toBeGreaterThan(0);
    expect(one).toBeGreaterThan(5 * two);
  });
});

describe("results", () => {
  it("probabilities are the weights that V's codes were multiplied by", () => {
    const precision = recipes.int12;
    const [q, k, v] = sample([1, 1, 1, 5, 150, 16, 8], 26);
    const { out, probabilities } = attention(q, k, v, {
      precision: { ...precision, smoothV: false },
      probabilities: true,
    });
    const values = quantiseValues(numbers(v), 150, 8, new Uint8Array(150).fill(1), {
      ...precision,
      smoothV: false,
    });
    for (let i = 0; i < 5; i++) {
      for (let e = 0; e < 8; e++) {
        let sum = 0;
        for (let j = 0; j < 150; j++) {
          sum += Number(probabilities!.data[i * 150 + j]) * values.codes[j * 8 + e] * values.scaleAt(j, e);
        }
        expect(Math.abs(sum - Number(out.data[i * 8 + e]))).toBeLessThan(1e-14);
      }
    }
  });

  it("float32 is attention, bit for bit", () => {
    const [q, k, v] = sample([1, 2, 1, 9, 70, 16, 8], 27);
    same(attention(q, k, v, { precision: "float32" }).out, attention(q, k, v).out);
  });

  it("tiles and gradients have none", () => {
    const [q, k, v] = sample([1, 1, 1, 2, 2, 4, 4], 28);
    expect(() => attentionTiled(q, k, v, { precision: "int8" })).toThrow(RangeError);
  });
});
