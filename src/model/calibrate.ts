/**
 * A precision for each layer of a model, chosen on a text: the adaptive selection of SageAttention
 * (src/reference/calibrate.ts) fed with the queries, keys and values that the model has of this text, and measured on
 * the attention of the back end that will run.
 *
 * Cost: one prefill, and per layer an exact attention of the oracle and one of the back end for each candidate.
 */
import { calibrate, type CalibrateOptions } from "../calibrate/calibrate.ts";
import { type Calibration, precisionOf } from "../calibrate/calibration.ts";
import type { FileTensor } from "../io/tensor.ts";
import type { Precision } from "../precision.ts";
import type { LlamaConfig } from "./config.ts";
import type { Implementation, Values } from "./implementation.ts";
import { LanguageModel } from "./languagemodel.ts";
import { AttentionTrace } from "./trace.ts";
import type { ModelWeights } from "./weights.ts";

/**
 * @param ops A back end of its own: a model is loaded into it, read the text in float32, and closed.
 * @throws {RangeError} No tokens, or more than the model's context; a candidate that the back end lacks.
 */
export function calibrateModel<T>(
  given: { config: LlamaConfig; weights: ModelWeights<FileTensor> },
  ops: Implementation<T>,
  tokens: Uint8Array,
  options: Omit<CalibrateOptions, "attention"> = {},
): Promise<Calibration> {
  const { layers, heads, kvHeads, headDim } = given.config;
  const model = LanguageModel.load(given, ops, { maxTokens: Math.max(1, tokens.length) });
  const trace = new AttentionTrace();
  model.observer = trace.observe;
  model.prefill(tokens);
  const tensor = (data: Values, heads: number) => ({ data, shape: [1, tokens.length, heads, headDim] });
  const samples = Array.from({ length: layers }, (_, layer) => {
    const { k, v } = model.keysAndValues(layer);
    return {
      layer,
      q: tensor(trace.layer(layer).q, heads),
      k: tensor(k, kvHeads),
      v: tensor(v, kvHeads),
      options: { layout: "bnhd", causal: true } as const,
    };
  });
  model.close();
  return calibrate(samples, { ...options, attention: ops.attention });
}

/** The precision of each layer, as `LanguageModel.load` takes it. */
export function planOf(calibration: Calibration, { layers }: LlamaConfig): Precision[] {
  return Array.from({ length: layers }, (_, layer) => precisionOf(calibration, layer));
}
