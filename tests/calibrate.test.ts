/** Metrics, and the choice of a precision for each layer. */
import { describe, expect, it } from "vitest";
import { sage } from "../src/precision.ts";
import {
  calibrate,
  type CalibrationSample,
  metrics,
  parseCalibration,
  precisionOf,
} from "../src/calibrate/index.ts";
import { attention } from "../src/reference/index.ts";
import { biased, heavyTailed } from "./support/recipes.ts";
import { normal } from "./support/tensors.ts";

const tensor = (...data: number[]) => ({ data: Float64Array.from(data), shape: [data.length] });

describe("metrics", () => {
  it("are those of the papers", () => {
    const got = metrics(tensor(3, -4, 0), tensor(3, -3, 1));
    expect(got.cosine).toBeCloseTo(21 / (5 * Math.sqrt(19)), 14);
    expect(got.relativeL1).toBe(2 / 7);
    expect(got.rmse).toBe(Math.sqrt(2 / 3));
    expect(got.maxAbs).toBe(1);
  });

  it("of equal, zero and broken tensors", () => {
    expect(metrics(tensor(1, 2), tensor(1, 2))).toMatchObject({ relativeL1: 0, rmse: 0, maxAbs: 0 });
    expect(metrics(tensor(0, 0), tensor(0, 0))).toEqual({ cosine: 1, relativeL1: 0, rmse: 0, maxAbs: 0 });
    expect(metrics(tensor(0, 0), tensor(1, 0))).toMatchObject({ cosine: 0, relativeL1: Infinity });
    expect(metrics(tensor(), tensor())).toEqual({ cosine: 1, relativeL1: 0, rmse: 0, maxAbs: 0 });
    const broken = metrics(tensor(1, 2, 3), tensor(NaN, 2, 4));
    expect([broken.cosine, broken.relativeL1, broken.rmse, broken.maxAbs]).toEqual([NaN, NaN, NaN, NaN]);
    expect(() => metrics(tensor(1), tensor(1, 2))).toThrow("got: expected [1] like want, got [2]");
  });
});

/** Layer 0 is easy for 4 bits, 1 harder, 2 the hardest: outliers in K that smoothing doesn't remove. */
function* layers(): Generator<CalibrationSample> {
  for (let seed = 0; seed < 2; seed++) {
    for (const layer of [2, 0, 1]) {
      const [q, k, v] = [1, 2, 3].map((n) =>
        normal(seed * 10 + layer * 3 + n, [1, 1, 40, 32], layer === 0 ? 0.3 : 1)
      );
      yield { layer, q, k: layer === 2 ? heavyTailed(biased(k, 2)) : k, v, options: { causal: true } };
    }
  }
}

describe("calibrate", () => {
  const int4 = sage({ qk: "int4", pv: "float32" });
  const int8 = sage({ qk: "int8", pv: "float32" });

  it("threshold: the first candidate above it on every sample, float32 where none is", async () => {
    const plan = await calibrate(layers(), { candidates: [int4, int8], threshold: 0.9995 });
    expect(plan.layers.map(({ layer }) => layer)).toEqual([0, 1, 2]);
    expect(plan.layers.map(({ precision }) => precision)).toEqual([int4, int8, "float32"]);
    for (const { measured } of plan.layers) {
      expect(measured.length).toBe(2);
      expect(measured[1].cosine).toBeGreaterThan(measured[0].cosine);
      expect(measured[1].rmse).toBeLessThan(measured[0].rmse);
    }
    const strict = await calibrate(layers(), { candidates: [int4, int8], threshold: 0.9999999 });
    expect(strict.layers.map(({ precision }) => precision)).toEqual(["float32", "float32", "float32"]);
    const rmse = await calibrate(layers(), { candidates: [int4, int8], metric: "rmse", threshold: 1 });
    expect(rmse.layers.map(({ precision }) => precision)).toEqual([int4, int4, int4]);
  });

  it("takes the worst of a layer's samples", async () => {
    const both = await calibrate(layers(), { candidates: [int4] });
    const all = [...layers()];
    const first = await calibrate(all.slice(0, 3), { candidates: [int4] });
    const second = await calibrate(all.slice(3), { candidates: [int4] });
    both.layers.forEach(({ measured }, n) => {
      const [a, b] = [first.layers[n].measured[0], second.layers[n].measured[0]];
      expect(measured[0].cosine).toBe(Math.min(a.cosine, b.cosine));
      expect(measured[0].relativeL1).toBe(Math.max(a.relativeL1, b.relativeL1));
    });
  });

  it("rank: the worst share by cosine·(1 − relative L1) gets the accurate one", async () => {
    const plan = await calibrate(layers(), { rule: "rank", candidates: [int4, int8] });
    expect(plan.layers.map(({ precision }) => precision)).toEqual([int4, int4, int8]);
    const most = await calibrate(layers(), { rule: "rank", candidates: [int4, int8], share: 0.5 });
    expect(most.layers.map(({ precision }) => precision)).toEqual([int4, int8, int8]);
    expect((await calibrate(layers(), { rule: "rank" })).layers[2].precision).toEqual(sage());
  });

  it("timesteps are layers of their own", async () => {
    function* steps() {
      for (const sample of layers()) yield { ...sample, timestep: sample.layer === 0 ? 5 : 7, layer: 3 };
    }
    const plan = await calibrate(steps(), { candidates: [int4], threshold: 0.9995 });
    expect(plan.layers.map(({ layer, timestep }) => [layer, timestep])).toEqual([[3, 5], [3, 7]]);
    expect(precisionOf(plan, 3, 5)).toEqual(int4);
    expect(precisionOf(plan, 3, 7)).toBe("float32");
    expect(precisionOf(plan, 3, 6)).toBe("float32");
    expect(precisionOf(plan, 4)).toBe("float32");
  });

  it("measures what it is given, which may answer later", async () => {
    let calls = 0;
    const plan = await calibrate(layers(), {
      candidates: ["int8", "int12"],
      attention: (q, k, v, options) => {
        calls++;
        expect(options.causal).toBe(true);
        return Promise.resolve(attention(q, k, v, { ...options, precision: int4 }));
      },
      threshold: 0.9995,
    });
    expect(calls).toBe(12);
    expect(plan.layers.map(({ precision }) => precision)).toEqual(["int8", "float32", "float32"]);
  });

  it("a result of NaN is as bad as it gets", async () => {
    const [q, k, v] = [1, 2, 3].map((n) => normal(n, [1, 1, 4, 8]));
    const broken = { data: v.data.slice().fill(NaN), shape: v.shape };
    const plan = await calibrate([{ layer: 0, q, k, v }], {
      attention: (a, b, _, options) => attention(a, b, broken, options),
    });
    expect(plan.layers[0].measured[0]).toMatchObject({ cosine: -1, relativeL1: Infinity, rmse: Infinity });
    expect(plan.layers[0].precision).toBe("float32");
  });

  it("goes through JSON", async () => {
    const plan = await calibrate(layers(), { candidates: ["int8", int4], threshold: 0.9995 });
    expect(parseCalibration(JSON.stringify(plan))).toEqual(plan);
  });

  it("refuses what it cannot use", async () => {
    const refuses = async (options: Parameters<typeof calibrate>[1], message: string) =>
      await expect(calibrate(layers(), options)).rejects.toThrow(message);
    await refuses({ rule: "rank", candidates: ["int8"] }, "candidates: expected a fast and an accurate one");
    await refuses({ rule: "rank", share: 2 }, "share: expected 0 to 1, got 2");
    await refuses({ metric: "rmse" }, 'threshold: expected a number with metric "rmse", got undefined');
    await refuses(
      { candidates: ["int9" as never] },
      'precision: expected "float32", "int12", "int8", got "int9"',
    );
    await refuses({ rule: "best" as never }, 'rule: expected "threshold", "rank", got "best"');
    const [sample] = layers();
    await expect(calibrate([{ ...sample, layer: -1 }])).rejects.toThrow("layer: expected an integer");
    await expect(calibrate([{ ...sample, options: { precision: "int8" } }])).rejects.toThrow(
      "options.precision",
    );
  });
});

describe("parseCalibration", () => {
  const good = { version: 1, rule: "threshold", layers: [{ layer: 0, precision: "int8", measured: [] }] };
  const bad: [unknown, string][] = [
    [[], "calibration: expected an object"],
    [{ ...good, version: 2 }, "version: expected 1, got 2"],
    [{ ...good, extra: 1 }, "calibration.extra: expected one of version"],
    [{ ...good, rule: "x" }, 'rule: expected "threshold" or "rank", got "x"'],
    [{ ...good, metric: "x" }, "metric: expected cosine"],
    [{ ...good, threshold: "x" }, "threshold: expected a number"],
    [{ ...good, share: "x" }, "share: expected a number"],
    [{ ...good, layers: 5 }, "layers: expected a list"],
    [{ ...good, layers: [{ layer: -1 }] }, "layers[0].layer: expected an integer ≥ 0, got -1"],
    [{ ...good, layers: [{ layer: 0, timestep: "a" }] }, "layers[0].timestep: expected an integer"],
    [
      { ...good, layers: [{ layer: 0, precision: "int8", measured: 1 }] },
      "layers[0].measured: expected a list",
    ],
    [
      { ...good, layers: [{ layer: 0, precision: "int9", measured: [] }] },
      "layers[0].precision: precision: expected",
    ],
    [{ ...good, layers: [{ layer: 0, measured: [] }] }, "layers[0].precision: precision: expected"],
    [
      { ...good, layers: [{ layer: 0, precision: "int8", measured: [{ precision: "int8", cosine: "1" }] }] },
      "layers[0].measured[0].cosine: expected a number or null",
    ],
  ];
  it.each(bad)("refuses %j", (input, message) => {
    expect(() => parseCalibration(JSON.stringify(input))).toThrow(SyntaxError);
    expect(() => parseCalibration(JSON.stringify(input))).toThrow(message);
  });

  it("refuses what isn't JSON", () => expect(() => parseCalibration("{")).toThrow(SyntaxError));
});
