/** The shipped model with quantised attention: what it costs end to end, which passes are quantised, whose bound holds. */
import { describe, expect, it } from "vitest";
import { calibrateModel, planOf } from "../src/model/calibrate.ts";
import { checkAttention } from "../src/model/check.ts";
import type { ImplementationName } from "../src/model/implementation.ts";
import { createImplementation } from "../src/model/implementations.ts";
import { LanguageModel, type LoadOptions } from "../src/model/languagemodel.ts";
import { bitsPerByte } from "../src/model/score.ts";
import { AttentionTrace } from "../src/model/trace.ts";
import { sage } from "../src/precision.ts";
import { recipes } from "../src/recipes.ts";
import { config, heldOut, weights } from "./support/moby.ts";

const given = { config, weights };
const load = (options: LoadOptions = {}, name: ImplementationName = "deterministic") =>
  LanguageModel.load(given, createImplementation(name), options);

describe("bits per byte on the kernels", () => {
  const text = heldOut.subarray(0, 1024);
  const bits = (precision: LoadOptions["precision"] & string) => {
    const model = load({ precision });
    const score = bitsPerByte(model.prefill(text, "all"), heldOut.subarray(1, 1025));
    return { score, kernels: model.kernels };
  };
  const exact = bits("float32");

  it.each([["int12", 0.001], ["int8", 0.005]] as const)("%s costs less than %d", (precision, most) => {
    const { score, kernels } = bits(precision);
    expect(Math.abs(score - exact.score)).toBeLessThan(most);
    expect(score).not.toBe(exact.score);
    expect(kernels).toContain("forward_i16");
    expect(kernels).not.toContain("forward_f32");
    expect(exact.kernels).not.toContain("forward_i16");
  });
});

describe.each(["deterministic", "reference"] as const)("precision on %s", (name) => {
  /** A prompt, some steps, a second prompt, a step: 57 tokens. */
  function read(options: LoadOptions) {
    const model = load(options, name);
    const trace = new AttentionTrace();
    model.observer = trace.observe;
    model.prefill(heldOut.subarray(0, 30));
    for (const token of heldOut.subarray(30, 35)) model.step(token);
    model.prefill(heldOut.subarray(35, 56));
    model.step(heldOut[56]);
    return { model, trace };
  }

  it("holds the prompt in its bound and the steps in that of float32", () => {
    const { model, trace } = read({ precision: ["int12", "float32", "int8", recipes.int8] });
    const { ratio, rows, bounded } = checkAttention(model, trace);
    expect({ rows, bounded }).toEqual({ rows: 57 * 16, bounded: 57 * 16 });
    expect(ratio).toBeLessThanOrEqual(1);
    expect(ratio).toBeGreaterThan(0);
    const passes = (l: number) =>
      trace.passes(l).map(({ q, recipe }) => [q.length / 256, recipe === null ? null : recipe.qk]);
    expect(passes(0)).toEqual([[30, "int12"], [5, null], [21, "int12"], [1, null]]);
    expect(passes(1)).toEqual([[57, null]]);
    expect(passes(2)).toEqual([[30, "int8"], [5, null], [21, "int8"], [1, null]]);
  });

  it("is off by what float32's bound doesn't allow", () => {
    const model = load({ precision: "int12" }, name);
    const trace = new AttentionTrace();
    model.observer = (layer, q, out) => trace.observe(layer, q, out, null);
    model.prefill(heldOut.subarray(0, 40));
    expect(checkAttention(model, trace).ratio).toBeGreaterThan(1);
  });

  it("finds one wrong element", () => {
    const model = load({ precision: "int12" }, name);
    const trace = new AttentionTrace();
    model.observer = (layer, q, out, recipe) => {
      if (layer === 1) out[21 * 256 + 130] += 0.5;
      trace.observe(layer, q, out, recipe);
    };
    model.prefill(heldOut.subarray(0, 40));
    const { ratio, at } = checkAttention(model, trace);
    expect(ratio).toBeGreaterThan(1);
    expect(at).toEqual({ layer: 1, head: 2, token: 21 });
  });

  it("steps in float32, bit for bit", () => {
    const [a, b] = [load({ precision: "int8" }, name), load({}, name)];
    for (const token of heldOut.subarray(0, 20)) expect(a.step(token)).toEqual(b.step(token));
    expect(a.kernels).toEqual(b.kernels);
  });
});

describe("a precision's door", () => {
  const refusals: [what: string, precision: NonNullable<LoadOptions["precision"]>, message: RegExp][] = [
    ["one that the kernels lack", sage({ qk: "fp4", pv: "fp4" }), /^precision\.qk "fp4": not available/],
    ["one that no one has", "int13" as "int12", /^precision: expected "float32"/],
    ["too few", ["int12"], /^precision: expected one for each of 4 layers, got 1$/],
  ];
  it.each(refusals)("refuses %s", (_, precision, message) => {
    expect(() => load({ precision })).toThrow(RangeError);
    expect(() => load({ precision })).toThrow(message);
  });
});

describe("calibrateModel", () => {
  const text = heldOut.subarray(0, 64);
  const calibrate = (options = {}) =>
    calibrateModel(given, createImplementation("deterministic"), text, options);

  it("gives each layer the first candidate above the threshold, measured on the back end", async () => {
    const calibration = await calibrate();
    expect(calibration.layers.map(({ layer }) => layer)).toEqual([0, 1, 2, 3]);
    expect(planOf(calibration, config)).toEqual(Array(4).fill("int8"));
    for (const { measured: [int8, int12] } of calibration.layers) {
      expect(int8.cosine).toBeLessThan(int12.cosine);
      expect(int12.cosine).toBeLessThan(1);
    }
    const worst = Math.min(...calibration.layers.map(({ measured }) => measured[0].cosine));
    const strict = await calibrate({ threshold: worst });
    expect(planOf(strict, config)).toContain("int12");
    expect(planOf(await calibrate({ threshold: 1 }), config)).toEqual(Array(4).fill("float32"));
  });

  it("refuses candidates that the back end lacks", async () => {
    await expect(calibrate({ candidates: [sage()] })).rejects.toThrow(
      /^precision\.granularity\.q "thread": not/,
    );
  });
});
