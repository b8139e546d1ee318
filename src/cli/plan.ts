/** --precision of a model: one precision, one for each layer, or the plan that a calibration on the prompt makes. */
import { InvalidArgumentError, Option } from "commander";
import { calibrateModel, planOf } from "../model/calibrate.ts";
import type { LlamaConfig } from "../model/config.ts";
import { createImplementation } from "../model/implementations.ts";
import type { ImplementationName } from "../model/implementation.ts";
import type { ModelWeights } from "../model/weights.ts";
import type { FileTensor } from "../io/tensor.ts";
import { type Precision } from "../precision.ts";
import { parsePrecision, precisionName } from "../recipes.ts";
import { type Calibration, parseCalibration } from "../calibrate/calibration.ts";
import { InputError, messageOf } from "./io.ts";

/** What was asked for; a list has one for each layer. */
export type Asked = "auto" | Precision | readonly Precision[] | { readonly calibration: Calibration };

/** What a model runs with. */
export interface Plan {
  readonly precision: readonly Precision[];
  /** What chose it, if something did. */
  readonly calibration: Calibration | null;
}

export function planOption(): Option {
  return new Option(
    "--precision <P>",
    "of the prompt's attention: float32, int12, int8, a published pipeline's name or its record in JSON, a JSON " +
      "list with one for each layer, a calibration's JSON, or auto: calibrate on the prompt",
  ).argParser((text) => {
    try {
      return parseAsked(text);
    } catch (error) {
      throw new InvalidArgumentError(messageOf(error));
    }
  }).default("float32");
}

function parseAsked(text: string): Asked {
  if (text === "auto") return "auto";
  if (!/^\s*[[{]/.test(text)) {
    try {
      return parsePrecision(text);
    } catch (error) {
      throw new RangeError(`${messageOf(error)} (or auto)`, { cause: error });
    }
  }
  const json: unknown = JSON.parse(text);
  if (Array.isArray(json)) {
    return json.map((each) => parsePrecision(typeof each === "string" ? each : JSON.stringify(each)));
  }
  return "layers" in (json as object) ? { calibration: parseCalibration(text) } : parsePrecision(text);
}

/** @throws {InputError} A list that isn't of the model's length. */
export async function makePlan(
  asked: Asked,
  given: { config: LlamaConfig; weights: ModelWeights<FileTensor> },
  backend: ImplementationName,
  prompt: Uint8Array,
): Promise<Plan> {
  const { config } = given;
  if (asked === "auto") {
    const calibration = await calibrateModel(given, createImplementation(backend), prompt);
    return { precision: planOf(calibration, config), calibration };
  }
  if (Array.isArray(asked)) {
    const precision = asked as readonly Precision[];
    if (precision.length !== config.layers) {
      throw new InputError(
        `--precision: expected one for each of ${config.layers} layers, got ${precision.length}`,
      );
    }
    return { precision, calibration: null };
  }
  if (typeof asked === "object" && "calibration" in asked) {
    const { calibration } = asked;
    const beyond = calibration.layers.find(({ layer }) => layer >= config.layers);
    if (beyond) {
      throw new InputError(
        `--precision: expected layers 0 to ${config.layers - 1} of the model, got layer ${beyond.layer}`,
      );
    }
    return { precision: planOf(calibration, config), calibration };
  }
  const precision = asked as Precision;
  return { precision: Array.from({ length: config.layers }, () => precision), calibration: null };
}

/** "int8 in layers 0, 2; int12 in layer 1". */
export function describePlan({ precision }: Plan): string {
  const layers = new Map<string, number[]>();
  precision.forEach((one, l) => {
    const name = precisionName(one);
    layers.set(name, [...layers.get(name) ?? [], l]);
  });
  return [...layers].map(([name, at]) =>
    layers.size === 1
      ? `${name} in all layers`
      : `${name} in layer${at.length > 1 ? "s" : ""} ${at.join(", ")}`
  ).join("; ");
}
