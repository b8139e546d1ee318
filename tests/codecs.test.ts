/**
 * 8- and 4-bit floats, exhaustively: every code, every midpoint of two neighbours and the doubles beside it. The
 * values come from the tables of the OCP specifications, written out here, not from the formula of the source.
 */
import { describe, expect, test } from "vitest";
import { E2M1, E4M3, E5M2, type MiniFloat } from "../src/codecs.ts";
import { roundEven } from "../src/dtype.ts";
import { step } from "./support/bigfloat.ts";

/** The non-negative finite numbers of a format, in order: subnormals, then 2^e·(1 + m/2^bits). */
function ladder(bits: number, lowest: number, highest: number, max: number): number[] {
  const list: number[] = [];
  for (let m = 0; m < 2 ** bits; m++) list.push(m * 2 ** (lowest - bits));
  for (let e = lowest; e <= highest; e++) {
    for (let m = 0; m < 2 ** bits; m++) list.push(2 ** e * (1 + m / 2 ** bits));
  }
  return list.filter((x) => x <= max);
}

interface Case {
  readonly name: "e4m3" | "e5m2" | "e2m1";
  readonly format: MiniFloat;
  readonly numbers: readonly number[];
  /** Codes without sign that are no finite number. */
  readonly special: Readonly<Record<number, number>>;
  readonly nan: number;
}

const cases: Case[] = [
  { name: "e4m3", format: E4M3, numbers: ladder(3, -6, 8, 448), special: { 0x7f: NaN }, nan: 0x7f },
  {
    name: "e5m2",
    format: E5M2,
    numbers: ladder(2, -14, 15, 57344),
    special: { 0x7c: Infinity, 0x7d: NaN, 0x7e: NaN, 0x7f: NaN },
    nan: 0x7f,
  },
  { name: "e2m1", format: E2M1, numbers: [0, 0.5, 1, 1.5, 2, 3, 4, 6], special: {}, nan: 7 },
];

describe.each(cases)("$name", ({ name, format, numbers, special, nan }) => {
  const codes = numbers.length + Object.keys(special).length;

  test("has as many codes as bits say", () => {
    expect(codes).toBe({ e4m3: 128, e5m2: 128, e2m1: 8 }[name]);
    expect([format.max, format.numbers[1]]).toEqual([numbers.at(-1), numbers[1]]);
  });

  test("decodes every code", () => {
    for (let code = 0; code < codes; code++) {
      const want = special[code] ?? numbers[code];
      expect(format.numbers[code]).toBe(want);
      expect(format.numbers[code + codes]).toBe(-want);
    }
  });

  test("encodes every number to its code, with either sign", () => {
    numbers.forEach((x, code) => {
      expect(format.encode(x)).toBe(code);
      expect(format.encode(-x)).toBe(code + codes);
      expect(format.round(x)).toBe(x);
      expect(format.round(-x)).toBe(-x);
    });
  });

  test("rounds midpoints to the even code and their neighbours to the nearest", () => {
    for (let code = 0; code + 1 < numbers.length; code++) {
      const [below, above] = [numbers[code], numbers[code + 1]];
      const middle = (below + above) / 2;
      for (const sign of [1, -1]) {
        const even = sign * (code % 2 === 0 ? below : above);
        expect(format.round(sign * middle)).toBe(even);
        expect(format.round(sign * step(middle, -1))).toBe(sign * below);
        expect(format.round(sign * step(middle, 1))).toBe(sign * above);
        expect(format.numbers[format.encode(sign * middle)]).toBe(even);
      }
    }
  });

  test("saturates, and keeps or replaces NaN", () => {
    const { max } = format;
    for (const x of [step(max, 1), max * 1.01, max * 2, 1e300, Infinity]) {
      expect(format.round(x)).toBe(max);
      expect(format.round(-x)).toBe(-max);
      expect(format.encode(-x)).toBe(numbers.length - 1 + codes);
    }
    expect(format.round(NaN)).toBeNaN();
    expect(format.encode(NaN)).toBe(nan);
  });

  test("the smallest doubles round to zero", () => {
    expect(format.round(2 ** -1074)).toBe(0);
    expect(Object.is(format.round(-(2 ** -1074)), -0)).toBe(true);
    expect(format.encode(0)).toBe(0);
    expect(format.encode(-0)).toBe(codes);
  });

  test("error is at most half a unit: relative for normals, absolute below", () => {
    const u = 2 ** -(format.mantissaBits + 1);
    for (let n = 1; n < 4000; n++) {
      const x = format.max * n / 3999 * (n % 3 === 0 ? 1 : 2 ** -(n % 20));
      const limit = Math.max(u * x, format.numbers[1] / 2);
      expect(Math.abs(format.round(x) - x)).toBeLessThanOrEqual(limit);
    }
  });
});

test("roundEven goes to the even neighbour", () => {
  const pairs = [[0.5, 0], [1.5, 2], [2.5, 2], [-0.5, -0], [-1.5, -2], [-2.5, -2], [0.49999999999999994, 0]];
  for (const [x, want] of pairs) expect(Math.abs(roundEven(x) - want)).toBe(0);
  for (let n = -3000; n <= 3000; n++) {
    expect(roundEven(n)).toBe(n);
    expect(roundEven(n + 0.25)).toBe(n);
    expect(roundEven(n - 0.25) + 0).toBe(n);
  }
});
