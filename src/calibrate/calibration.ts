/** A calibration as data: written by `calibrate`, kept as JSON, looked up layer by layer. */
import { type Precision, resolvePrecision } from "../precision.ts";

/** What a precision is judged by. */
export type CalibrationMetric = "cosine" | "relativeL1" | "rmse" | "score";

/** What a candidate lost on a layer, at its worst over the samples (src/reference/metrics.ts). */
export interface Measured {
  readonly precision: Precision;
  readonly cosine: number;
  readonly relativeL1: number;
  readonly rmse: number;
}

/** The precision chosen for one layer. */
export interface LayerPrecision {
  readonly layer: number;
  readonly timestep?: number;
  readonly precision: Precision;
  readonly measured: readonly Measured[];
}

/** The result of `calibrate`: its rule, and a precision for each layer (and timestep), in order. */
export interface Calibration {
  readonly version: 1;
  readonly rule: "threshold" | "rank";
  readonly metric?: CalibrationMetric;
  readonly threshold?: number;
  readonly share?: number;
  readonly layers: readonly LayerPrecision[];
}

/** More layers and timesteps than any model has. */
const MOST_LAYERS = 1 << 20;

/**
 * The precision of a layer: at this timestep, else at any, else float32.
 *
 * @example
 * ```ts
 * import { parseCalibration, precisionOf } from "flashtile/calibrate";
 * const layers = [{ layer: 3, precision: "int12", measured: [] }];
 * const calibration = parseCalibration(JSON.stringify({ version: 1, rule: "threshold", layers }));
 * console.log(precisionOf(calibration, 3), precisionOf(calibration, 4)); // int12 float32
 * ```
 */
export function precisionOf({ layers }: Calibration, layer: number, timestep?: number): Precision {
  const entries = layers.filter((entry) => entry.layer === layer);
  const entry = entries.find((one) => one.timestep === timestep) ??
    entries.find((one) => one.timestep === undefined);
  return entry?.precision ?? "float32";
}

/**
 * The JSON of a calibration → the calibration. An ∞ of the measurements is null in JSON.
 *
 * @throws {SyntaxError} Not JSON, or not a calibration; the message names the field.
 *
 * @example
 * ```ts
 * import { parseCalibration } from "flashtile/calibrate";
 * const { rule, share } = parseCalibration('{"version": 1, "rule": "rank", "share": 0.3, "layers": []}');
 * console.log(rule, share); // rank 0.3
 * ```
 */
export function parseCalibration(text: string): Calibration {
  const input = record("calibration", JSON.parse(text), [
    "version",
    "rule",
    "metric",
    "threshold",
    "share",
    "layers",
  ]);
  if (input.version !== 1) fail("version", "1", input.version);
  const { rule, metric, threshold, share } = input;
  if (rule !== "threshold" && rule !== "rank") fail("rule", '"threshold" or "rank"', rule);
  if (metric !== undefined && !["cosine", "relativeL1", "rmse", "score"].includes(metric as string)) {
    fail("metric", "cosine, relativeL1, rmse or score", metric);
  }
  if (threshold !== undefined && typeof threshold !== "number") fail("threshold", "a number", threshold);
  if (share !== undefined && typeof share !== "number") fail("share", "a number", share);
  if (!Array.isArray(input.layers) || input.layers.length > MOST_LAYERS) {
    fail("layers", `a list of at most ${MOST_LAYERS}`, input.layers);
  }
  const layers = (input.layers as unknown[]).map((entry, n) => layerOf(`layers[${n}]`, entry));
  return { ...input, layers } as unknown as Calibration;
}

function layerOf(name: string, input: unknown): LayerPrecision {
  const entry = record(name, input, ["layer", "timestep", "precision", "measured"]);
  const index = (key: "layer" | "timestep") => {
    if (!Number.isSafeInteger(entry[key]) || (entry[key] as number) < 0) {
      fail(`${name}.${key}`, "an integer ≥ 0", entry[key]);
    }
  };
  index("layer");
  if (entry.timestep !== undefined) index("timestep");
  if (!Array.isArray(entry.measured) || entry.measured.length > 64) {
    fail(`${name}.measured`, "a list of at most 64", entry.measured);
  }
  const measured = (entry.measured as unknown[]).map((one, n): Measured => {
    const at = `${name}.measured[${n}]`;
    const fields = record(at, one, ["precision", "cosine", "relativeL1", "rmse"]);
    const number = (key: string) => {
      const value = fields[key];
      if (value === null) return Infinity;
      return typeof value === "number" ? value : fail(`${at}.${key}`, "a number or null", value);
    };
    return {
      precision: precision(`${at}.precision`, fields.precision),
      cosine: number("cosine"),
      relativeL1: number("relativeL1"),
      rmse: number("rmse"),
    };
  });
  return {
    ...entry,
    precision: precision(`${name}.precision`, entry.precision),
    measured,
  } as unknown as LayerPrecision;
}

function precision(name: string, input: unknown): Precision {
  try {
    resolvePrecision(input === undefined ? null : input);
  } catch (error) {
    throw new SyntaxError(`${name}: ${(error as Error).message}`, { cause: error });
  }
  return input as Precision;
}

function record(name: string, input: unknown, fields: readonly string[]): Record<string, unknown> {
  if (input === null || typeof input !== "object" || Array.isArray(input)) fail(name, "an object", input);
  const unknown = Object.keys(input as object).find((key) => !fields.includes(key));
  if (unknown !== undefined) fail(`${name}.${unknown}`, `one of ${fields.join(", ")}`, unknown);
  return input as Record<string, unknown>;
}

function fail(name: string, expected: string, got: unknown): never {
  const text = JSON.stringify(got) ?? "none";
  throw new SyntaxError(
    `${name}: expected ${expected}, got ${text.length > 64 ? `${text.slice(0, 64)}…` : text}`,
  );
}
