/**
 * src/reference/math against big-integer arithmetic (support/bigfloat.ts): random bit patterns over all exponents,
 * the range of use, and every boundary with its neighbours. The bound in a title is what was measured over 4·10^6
 * arguments a function, rounded up; a correctly rounded function has 0.5.
 */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import * as math from "../src/reference/math.ts";
import { FRACTION, LN2, PI } from "../src/reference/math/constants.ts";
import { TWO_OVER_PI, TWO_OVER_PI_BITS } from "../src/reference/math/trig.ts";
import { expPair } from "../src/reference/math/exp.ts";
import { logPair } from "../src/reference/math/log.ts";
import { pair, scalePair } from "../src/reference/math/pair.ts";
import * as big from "./support/bigfloat.ts";
import { anyDouble, MATH_SHA256, mathBytes, uniform } from "./support/mathHash.ts";
import { argumentsOf, SUBJECTS } from "./support/mathSubjects.ts";
import { Random } from "./support/random.ts";

const SEED = 1;

const report: string[] = [];
afterAll(() => console.info(`worst error, seed ${SEED}:\n${report.join("\n")}`));

describe("error against big integers", () => {
  test.each(SUBJECTS)("$name stays below $bound ulp", (subject) => {
    const { name, bound } = subject;
    const xs = argumentsOf(subject, SEED);
    let worst = 0;
    let at = 0;
    for (const x of xs) {
      const error = big.ulpError(math[name](x), big[name](x));
      if (!(error <= worst)) [worst, at] = [error, x];
    }
    report.push(`${name} ${worst.toFixed(4)} ulp at ${at}, ${xs.length} arguments`);
    expect(worst, `${name}(${at}) = ${math[name](at)}, seed ${SEED}`).toBeLessThan(bound);
  });

  const positive = (random: Random) => {
    const x = Math.abs(anyDouble(random));
    return x > 0 && x < Infinity && x !== 1 ? x : 3;
  };
  /** A power of base from 2^−1076 to 2^to. */
  const reaching = (to: number, base: number, random: Random): [number, number] => [
    base,
    ((to + 1076) * uniform(random) - 1076) / math.log2(base),
  ];
  const POWERS: readonly [string, number, (random: Random) => [number, number]][] = [
    [
      "rotary frequencies",
      0.501,
      (r) => [r.pick([1e4, 5e5, 1e6, 8 + 1e7 * uniform(r)]), -r.below(256) / 256],
    ],
    ["moderate powers", 0.505, (r) => [10 * uniform(r), 20 * uniform(r) - 10]],
    ["any base, to the ends of the range", 0.505, (r) => reaching(1025, positive(r), r)],
    ["bases near 1, to the ends of the range", 0.57, (r) => reaching(1025, 0.99 + 0.02 * uniform(r), r)],
    ["subnormal results", 0.505, (r) => reaching(-1021, positive(r), r)],
  ];
  test.each(POWERS)("pow, %s, stays below %f ulp", (kind, bound, draw) => {
    const random = new Random(SEED);
    let worst = 0;
    let at = [0, 0];
    for (let i = 0; i < 4000; i++) {
      const [base, x] = draw(random);
      const error = big.ulpError(math.pow(base, x), big.pow(base, x));
      if (!(error <= worst)) [worst, at] = [error, [base, x]];
    }
    report.push(`pow, ${kind}: ${worst.toFixed(4)} ulp at ${at}`);
    expect(worst, `pow(${at}), seed ${SEED}`).toBeLessThan(bound);
  });
});

describe("special points", () => {
  const { MAX_VALUE, MIN_VALUE } = Number;
  const CASES: Record<string, readonly (readonly [number, number])[]> = {
    exp: [[0, 1], [-0, 1], [Infinity, Infinity], [-Infinity, 0], [NaN, NaN], [MIN_VALUE, 1], [
      MAX_VALUE,
      Infinity,
    ]],
    exp2: [[0, 1], [-0, 1], [Infinity, Infinity], [-Infinity, 0], [NaN, NaN], [-1074, MIN_VALUE], [-1075, 0]],
    expm1: [[0, 0], [-0, -0], [Infinity, Infinity], [-Infinity, -1], [NaN, NaN], [MIN_VALUE, MIN_VALUE]],
    log: [[1, 0], [0, -Infinity], [-0, -Infinity], [Infinity, Infinity], [-1, NaN], [-Infinity, NaN], [
      NaN,
      NaN,
    ]],
    log2: [[1, 0], [0, -Infinity], [-0, -Infinity], [Infinity, Infinity], [-MIN_VALUE, NaN], [NaN, NaN]],
    log1p: [[0, 0], [-0, -0], [-1, -Infinity], [Infinity, Infinity], [-1.5, NaN], [-Infinity, NaN], [
      NaN,
      NaN,
    ]],
    tanh: [[0, 0], [-0, -0], [Infinity, 1], [-Infinity, -1], [NaN, NaN], [-MIN_VALUE, -MIN_VALUE], [30, 1]],
    sigmoid: [[0, 0.5], [-0, 0.5], [Infinity, 1], [-Infinity, 0], [NaN, NaN]],
    sin: [[0, 0], [-0, -0], [Infinity, NaN], [-Infinity, NaN], [NaN, NaN], [MIN_VALUE, MIN_VALUE]],
    cos: [[0, 1], [-0, 1], [Infinity, NaN], [-Infinity, NaN], [NaN, NaN], [MIN_VALUE, 1]],
  };
  test.each(Object.entries(CASES))("%s", (name, cases) => {
    for (const [x, y] of cases) expect(math[name as "exp"](x), `${name}(${x})`).toBe(y);
  });

  test("pow", () => {
    const big = 2 ** 53 - 1;
    const POW: readonly (readonly [base: number, x: number, y: number])[] = [
      ...[0, -0, 1, -1, 7, -7, Infinity, -Infinity, NaN].flatMap((base) =>
        [[base, 0, 1], [base, -0, 1]] as const
      ),
      ...[0, -0, 1, -1, 7, -7, Infinity, -Infinity, NaN].map((base) => [base, NaN, NaN] as const),
      ...[1, 0.5, -3, Infinity].map((x) => [NaN, x, NaN] as const),
      ...[1, -1].flatMap((base) => [[base, Infinity, NaN], [base, -Infinity, NaN]] as const),
      ...[2, -2, 1.0000000000000002, Infinity].flatMap((base) =>
        [[base, Infinity, Infinity], [base, -Infinity, 0]] as const
      ),
      ...[0.5, -0.5, 0.9999999999999999, 0, -0].flatMap((base) =>
        [[base, Infinity, 0], [base, -Infinity, Infinity]] as const
      ),
      ...[[0, 3, 0], [-0, 3, -0], [0, 2, 0], [-0, 2, 0], [0, 0.5, 0], [-0, 0.5, 0], [-0, big, -0]] as const,
      ...[[0, -3, Infinity], [-0, -3, -Infinity], [-0, -2, Infinity], [-0, -0.5, Infinity]] as const,
      ...[[Infinity, 0.1, Infinity], [Infinity, -2, 0], [-Infinity, 3, -Infinity], [
        -Infinity,
        2,
        Infinity,
      ]] as const,
      ...[[-Infinity, -3, -0], [-Infinity, -2, 0], [-Infinity, 0.5, Infinity], [-Infinity, -0.5, 0]] as const,
      ...[[-2, 3, -8], [-2, -3, -0.125], [-2, 2, 4], [-2, 0.5, NaN], [-1, big, -1], [
        -1,
        big + 1,
        1,
      ]] as const,
      ...[[2, 1e300, Infinity], [2, -1e300, 0], [0.5, 1e300, 0], [-2, 1025, -Infinity], [
        -2,
        -1077,
        -0,
      ]] as const,
      ...[[2, 1e-300, 1], [0.5, -1e-300, 1], [1, 1e300, 1], [3, 4, 81], [10, -2, 0.01], [
        MIN_VALUE,
        1,
        MIN_VALUE,
      ]] as const,
    ];
    for (const [base, x, y] of POW) expect(math.pow(base, x), `pow(${base}, ${x})`).toBe(y);
  });

  test("powers of two are exact in exp2, log2 and pow", () => {
    for (let e = -1074; e < 1024; e++) {
      const power = big.toNumber({ m: 1n, e });
      expect(math.exp2(e)).toBe(power);
      expect(math.log2(power)).toBe(e);
      expect(math.pow(2, e)).toBe(power);
    }
  });

  test("sin and tanh are odd, cos is even", () => {
    const random = new Random(SEED);
    for (let i = 0; i < 2000; i++) {
      const x = Math.abs(i % 2 ? anyDouble(random) : 50 * uniform(random));
      expect(math.sin(-x)).toBe(-math.sin(x));
      expect(math.tanh(-x)).toBe(-math.tanh(x));
      expect(math.cos(-x)).toBe(math.cos(x));
    }
  });

  test("the double nearest to a multiple of π/2", () => {
    // 6381956970095103·2^797: J.-M. Muller, Elementary Functions, table 11.1.
    const x = big.toNumber({ m: 6381956970095103n, e: 797 });
    expect(math.cos(x)).toBe(-4.68716592425462761112e-19);
    expect(math.sin(x)).toBe(1);
  });
});

describe("inside", () => {
  test("constants are those of another derivation", () => {
    expect(LN2).toBe(big.ln2(Number(FRACTION)));
    expect(PI).toBe(big.pi(Number(FRACTION)));
    expect(TWO_OVER_PI).toBe((1n << BigInt(TWO_OVER_PI_BITS + 1401)) / big.pi(1400));
  });

  test("expPair is good to 2^−68 and logPair to 2^−66", () => {
    const random = new Random(SEED);
    for (let i = 0; i < 4000; i++) {
      const x = i % 2 ? 1400 * uniform(random) - 700 : 2 * uniform(random) - 1;
      const y = x * uniform(random) / 2 ** 53;
      const e = expPair(x, y);
      const exact = big.expSum(x, y);
      expect(relative(pair, { m: exact.m, e: exact.e - e }), `expPair(${x}, ${y})`).toBeLessThan(2 ** -68);
      const z = i % 2 ? 0.9 + 0.2 * uniform(random) : Math.abs(anyDouble(random));
      if (!(z < Infinity)) continue;
      logPair(z, 0);
      expect(relative(pair, big.log(z)), `logPair(${z})`).toBeLessThan(2 ** -66);
    }
  });

  /** |pair[0] + pair[1] − exact| / |exact|. */
  function relative(pair: Float64Array, exact: big.Big): number {
    const at = (x: number) => {
      const { m, e } = big.fromDouble(x);
      return m << BigInt(e - exact.e);
    };
    const difference = at(pair[0]!) + at(pair[1]!) - exact.m;
    return Math.abs(Number((difference << 200n) / exact.m)) / 2 ** 200;
  }

  test("scalePair rounds once, subnormals and overflow included", () => {
    const random = new Random(SEED);
    for (let i = 0; i < 5000; i++) {
      // Half of them next to 1 and 2, where lo decides the binade and so the grid.
      const hi = i & 1 ? 0.99 + 1.02 * uniform(random) : 1 + (i & 2) / 2 + (uniform(random) - 0.5) / 64;
      const lo = (uniform(random) - 0.5) / 128;
      const e = [-1024 + random.below(4), -1082 + random.below(64), 1018 + random.below(8)][i % 3]!;
      const [a, b] = [big.fromDouble(hi), big.fromDouble(lo)];
      const grid = Math.min(a.e, b.e);
      const exact = { m: (a.m << BigInt(a.e - grid)) + (b.m << BigInt(b.e - grid)), e: grid + e };
      expect(big.ulpError(scalePair(hi, lo, e), exact), `${hi}, ${lo}, ${e}`).toBeLessThan(0.5 + 2 ** -30);
    }
  });

  test("only operations that every engine rounds alike", () => {
    const folder = new URL("../src/reference/math/", import.meta.url);
    for (const file of readdirSync(folder)) {
      const code = readFileSync(new URL(file, folder), "utf8").replace(/\/\*[^]*?\*\/|\/\/.*/g, "");
      expect(code, file).not.toMatch(/\*\*|Math\.(?!abs|floor|round|min|max\b)/);
    }
  });

  test("20,000 results have the bits that every engine must give", () => {
    const bytes = mathBytes(math);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(MATH_SHA256);
  });
});
