/**
 * Which precision for which layer: the adaptive selection of SageAttention, which was never released.
 *
 *   threshold   v1 (arXiv 2410.02367): of the candidates, fastest first, a layer gets the first whose cosine similarity
 *               to exact attention is above 99.8 % on every sample; float32 where none is
 *   rank        v2 (arXiv 2411.10958, first report): layers, and steps of a diffusion model, are ranked by
 *               cosine·(1 − relative L1) of the fast candidate; the worst 30 % get the accurate one
 *
 * What is measured is a function: the oracle, or the kernels that will run. Cost: an exact and, for each candidate, a
 * quantised attention a sample.
 */
import { count, describe, finite, oneOf } from "../check.ts";
import type { TensorInput } from "../tensor.ts";
import type { AttentionOptions } from "../options.ts";
import { type Precision, resolvePrecision } from "../precision.ts";
import { recipes } from "../recipes.ts";
import type { AttentionResult } from "../result.ts";
import { attention as reference } from "../reference/index.ts";
import { metrics } from "./metrics.ts";
import type { Calibration, CalibrationMetric, LayerPrecision, Measured } from "./calibration.ts";

/** The attention of one layer, as a model computed it. */
export interface CalibrationSample {
  readonly layer: number;
  /** Step of a diffusion model; layers may need another precision early than late. */
  readonly timestep?: number;
  readonly q: TensorInput;
  readonly k: TensorInput;
  readonly v: TensorInput;
  readonly options?: AttentionOptions;
}

/** Any attention with this package's signature. */
export type AttentionFunction = (
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  options: AttentionOptions,
) => AttentionResult | Promise<AttentionResult>;

/** How {@link calibrate} decides. */
export interface CalibrateOptions {
  readonly rule?: "threshold" | "rank";
  /** Fastest first. "threshold": any number, by default ["int8", "int12"]; "rank": two, SageAttn2-4b and -8b. */
  readonly candidates?: readonly Precision[];
  /** What "threshold" looks at; "score" is cosine·(1 − relative L1). Default "cosine". */
  readonly metric?: CalibrationMetric;
  /** The metric must be above (rmse and relativeL1: below) this; default 0.998 for cosine, else required. */
  readonly threshold?: number;
  /** Share of the layers to which "rank" gives the second candidate, default 0.3, rounded up. */
  readonly share?: number;
  /** What is measured, default the oracle. */
  readonly attention?: AttentionFunction;
}

/**
 * Measures candidates on samples and chooses one for each layer (and timestep).
 *
 * @returns Plain data: JSON.stringify writes it, {@link parseCalibration} reads it, {@link precisionOf} looks up.
 * @throws {TypeError} A wrong kind. @throws {RangeError} A wrong value; as `attention`.
 *
 * @example
 * ```ts
 * import { calibrate, precisionOf } from "flashtile/calibrate";
 * const x = { data: Float32Array.from({ length: 256 }, (_, n) => Math.cos(n * n)), shape: [1, 1, 16, 16] };
 * const plan = await calibrate([{ layer: 0, q: x, k: x, v: x }], { candidates: ["int8", "int12"] });
 * console.log(precisionOf(plan, 0)); // int8
 * ```
 */
export async function calibrate(
  samples: Iterable<CalibrationSample> | AsyncIterable<CalibrationSample>,
  options: CalibrateOptions = {},
): Promise<Calibration> {
  const rule = readRule(options);
  const candidates = options.candidates ??
    (rule.rule === "rank" ? [recipes["sage2-4b"], recipes.sage2] : ["int8", "int12"]);
  if (rule.rule === "rank" && candidates.length !== 2) {
    throw new RangeError(
      `candidates: expected a fast and an accurate one for rule "rank", got ${candidates.length}`,
    );
  }
  candidates.forEach((candidate) => resolvePrecision(candidate));
  const run = options.attention ?? reference;
  const layers = new Map<string, { layer: number; timestep?: number; measured: Measured[] }>();
  for await (const { layer, timestep, q, k, v, options: given = {} } of samples) {
    const name = `${count("layer", layer)}:${timestep === undefined ? "" : count("timestep", timestep)}`;
    if (given.precision !== undefined) throw new RangeError("options.precision: expected none in a sample");
    const exact = reference(q, k, v, { ...given, out: "float64" }).out;
    const entry = layers.get(name) ??
      { layer, ...(timestep !== undefined && { timestep }), measured: candidates.map(unmeasured) };
    layers.set(name, entry);
    for (let n = 0; n < candidates.length; n++) {
      const { out } = await run(q, k, v, { ...given, precision: candidates[n] });
      entry.measured[n] = worse(entry.measured[n], metrics(exact, out));
    }
  }
  const choose = rule.rule === "rank" ? ranked([...layers.values()], rule.share) : firstAbove(rule);
  const chosen = [...layers.values()].map((entry): LayerPrecision => ({
    ...entry,
    precision: choose(entry),
  }));
  chosen.sort((a, b) => a.layer - b.layer || (a.timestep ?? -1) - (b.timestep ?? -1));
  return { version: 1, ...rule, layers: chosen };
}

type Rule =
  | { readonly rule: "threshold"; readonly metric: CalibrationMetric; readonly threshold: number }
  | { readonly rule: "rank"; readonly share: number };

function readRule({ rule = "threshold", metric = "cosine", threshold, share = 0.3 }: CalibrateOptions): Rule {
  if (oneOf("rule", rule, ["threshold", "rank"]) === "rank") {
    if (!(finite("share", share) >= 0 && share <= 1)) {
      throw new RangeError(`share: expected 0 to 1, got ${share}`);
    }
    return { rule: "rank", share };
  }
  oneOf("metric", metric, ["cosine", "relativeL1", "rmse", "score"]);
  if (threshold === undefined && metric !== "cosine") {
    throw new TypeError(`threshold: expected a number with metric "${metric}", got ${describe(threshold)}`);
  }
  return { rule: "threshold", metric, threshold: finite("threshold", threshold ?? 0.998) };
}

const unmeasured = (precision: Precision): Measured => ({ precision, cosine: 1, relativeL1: 0, rmse: 0 });

/** The worst of all samples counts. NaN is as bad as it gets. */
function worse(a: Measured, b: { cosine: number; relativeL1: number; rmse: number }): Measured {
  const bad = (x: number, worst: number) => x === x ? x : worst;
  return {
    precision: a.precision,
    cosine: Math.min(a.cosine, bad(b.cosine, -1)),
    relativeL1: Math.max(a.relativeL1, bad(b.relativeL1, Infinity)),
    rmse: Math.max(a.rmse, bad(b.rmse, Infinity)),
  };
}

const score = ({ cosine, relativeL1 }: Measured) => cosine * (1 - relativeL1);

interface Entry {
  readonly measured: readonly Measured[];
}

function firstAbove({ metric, threshold }: Rule & { rule: "threshold" }): (entry: Entry) => Precision {
  const good = (m: Measured) => {
    if (metric === "score") return score(m) > threshold;
    return metric === "cosine" ? m.cosine > threshold : m[metric] < threshold;
  };
  return ({ measured }) => measured.find(good)?.precision ?? "float32";
}

function ranked(entries: readonly Entry[], share: number): (entry: Entry) => Precision {
  const order = [...entries].sort((a, b) => score(a.measured[0]) - score(b.measured[0]));
  const accurate = new Set(order.slice(0, Math.ceil(share * entries.length)));
  return (entry) => entry.measured[accurate.has(entry) ? 1 : 0].precision;
}
