/** The option `precision`: what it takes, what it refuses and in which words. */
import { describe, expect, it } from "vitest";
import { resolvePrecision, sage } from "../src/precision.ts";
import { parsePrecision, precisionName, recipes } from "../src/recipes.ts";
import { createProblem } from "../src/problem.ts";

describe("sage", () => {
  it("makes the published versions", () => {
    const { qk, granularity, smoothK, smoothQ, smoothV, pv, accumulator, rounding } = sage();
    expect({ qk, granularity, smoothK, smoothQ, smoothV, pv, accumulator, rounding }).toEqual({
      qk: "int8",
      granularity: { q: "thread", k: "thread" },
      smoothK: true,
      smoothQ: false,
      smoothV: false,
      pv: "fp8",
      accumulator: "fp32+fp32",
      rounding: "half-away",
    });
    expect(sage({ version: "1" })).toMatchObject({
      qk: "int8",
      granularity: { q: "block", k: "block" },
      pv: "fp16",
    });
    expect(sage({ version: "2++" })).toMatchObject({ pv: "fp8", accumulator: "fp32+fp16" });
    expect(sage({ version: "3" })).toMatchObject({ qk: "fp4", pv: "fp4", smoothQ: "block" });
    expect(sage({ qk: "int4" })).toMatchObject({ smoothQ: "block", pv: "fp8" });
    expect(sage({ pv: "int8" })).toMatchObject({ accumulator: "float32" });
    expect(sage({ smoothQ: true }).smoothQ).toBe("block");
  });

  it("is its own fixed point, through JSON too", () => {
    for (const recipe of Object.values(recipes)) {
      if (recipe === null) continue;
      expect(sage(recipe)).toEqual(recipe);
      expect(sage(JSON.parse(JSON.stringify(recipe)))).toEqual(recipe);
    }
  });

  const wrong: [unknown, typeof TypeError | typeof RangeError, string][] = [
    [null, TypeError, "precision: expected a record, got null"],
    [[], TypeError, "precision: expected a record, got Array"],
    [7, TypeError, "precision: expected a record, got 7"],
    [{ bits: 8 }, TypeError, "precision.bits: no such option; there are version, qk, "],
    [{ version: "4" }, RangeError, 'precision.version: expected "2", "1", "2++", "3", got "4"'],
    [{ version: 2 }, TypeError, 'precision.version: expected "2", "1", "2++", "3", got 2'],
    [{ qk: "int3" }, RangeError, 'precision.qk: expected "float32", "int16"'],
    [{ pv: "int4" }, RangeError, 'precision.pv: expected "float32", "float32/fp8", "fp16"'],
    [{ granularity: "row" }, RangeError, 'precision.granularity.q: expected "tensor"'],
    [
      { granularity: { q: "token" } },
      TypeError,
      'precision.granularity.k: expected "tensor", "block", "warp", "thread", "token", got undefined',
    ],
    [
      { granularity: { q: "token", k: "token", v: "token" } },
      TypeError,
      "precision.granularity.v: no such option",
    ],
    [{ granularity: 3 }, TypeError, "precision.granularity: expected a name or {q, k}, got 3"],
    [{ rounding: "up" }, RangeError, 'precision.rounding: expected "half-away", "half-even", got "up"'],
    [{ smoothK: 1 }, TypeError, "precision.smoothK: expected true, false, got 1"],
    [{ smoothV: "yes" }, TypeError, 'precision.smoothV: expected false, true, got "yes"'],
    [{ smoothQ: "row" }, RangeError, 'precision.smoothQ: expected false, true, "block", "head", got "row"'],
    [
      { pv: "int8", accumulator: "fp22" },
      RangeError,
      'precision.accumulator: expected "float32", got "fp22"',
    ],
    [
      { accumulator: "fp22", vScale: "tile" },
      RangeError,
      'precision.vScale: expected "head" with accumulator "fp22"',
    ],
    [
      { accumulator: "fp22", pScale: "tile" },
      RangeError,
      'precision.pScale: expected "row" with accumulator "fp22"',
    ],
    [{ blockQ: 12 }, RangeError, "precision.blockQ: expected a multiple of 8 up to 65536, got 12"],
    [{ blockK: 0 }, RangeError, "precision.blockK: expected a multiple of 8"],
    [{ warpQ: "32" }, TypeError, 'precision.warpQ: expected a finite number, got "32"'],
  ];
  it.each(wrong)("refuses %j", (input, kind, message) => {
    expect(() => sage(input as never)).toThrow(kind);
    expect(() => sage(input as never)).toThrow(message);
  });
});

describe("precision", () => {
  it("is float32 unless told, int12, int8 or a record", () => {
    expect(resolvePrecision(undefined)).toBeNull();
    expect(resolvePrecision("float32")).toBeNull();
    expect(resolvePrecision("int12")).toBe(recipes.int12);
    expect(resolvePrecision("int8")).toBe(recipes.int8);
    expect(resolvePrecision({ version: "1" })).toEqual(recipes.sage1);
    expect(() => resolvePrecision("int4")).toThrow(
      'precision: expected "float32", "int12", "int8", got "int4"',
    );
  });

  it("goes through the door", () => {
    const x = { data: new Float32Array(4), shape: [1, 1, 2, 2] };
    expect(createProblem(x, x, x).precision).toBeNull();
    expect(createProblem(x, x, x, { precision: "int8" }).precision).toBe(recipes.int8);
    expect(() => createProblem(x, x, x, { precision: { qk: "int3" } as never })).toThrow(RangeError);
  });

  it("has names on the command line, or is JSON", () => {
    for (const name of Object.keys(recipes)) expect(precisionName(parsePrecision(name))).toBe(name);
    const odd = parsePrecision('{"version": "2", "blockQ": 64}');
    expect(JSON.parse(precisionName(odd))).toEqual(sage({ blockQ: 64 }));
    expect(() => parsePrecision("sage9")).toThrow(RangeError);
    expect(() => parsePrecision("{")).toThrow(SyntaxError);
    expect(() => parsePrecision('{"a": 1}')).toThrow(TypeError);
  });
});
