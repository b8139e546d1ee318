/** Prompt → continuation: one prefill of the whole prompt, then one step for each token but the last. */
import type { LlamaConfig } from "./config.ts";
import type { LanguageModel } from "./languagemodel.ts";
import type { Sampler } from "./sampler.ts";
import { TextStream } from "./text.ts";

export interface GenerateOptions {
  /** Tokens to write, ≥ 1; fewer if the model ends the text. */
  readonly count: number;
  readonly sample: Sampler;
  /** Gets the text in whole characters, as they come. */
  readonly emit?: (text: string) => void;
}

export interface Generation {
  /** The continuation: whole characters, without an end token. */
  readonly text: string;
  readonly tokens: readonly number[];
  readonly promptTokens: number;
  /** Tokens that went through the model after the prompt. */
  readonly steps: number;
  readonly prefillSeconds: number;
  /** Of all steps and the sampling between them. */
  readonly decodeSeconds: number;
}

/**
 * Tokens of context that `count` tokens behind a prompt take: the last one is not read again.
 *
 * @throws {RangeError} The model's context is shorter, or the prompt is empty.
 */
export function contextFor({ maxPositions }: LlamaConfig, prompt: number, count: number): number {
  if (prompt === 0) throw new RangeError("prompt: expected at least one byte, got none");
  if (prompt > maxPositions) {
    throw new RangeError(
      `prompt: expected at most ${maxPositions} bytes (max_position_embeddings), got ${prompt}`,
    );
  }
  const most = maxPositions - prompt + 1;
  if (count > most) {
    throw new RangeError(
      `tokens: expected at most ${most} behind a prompt of ${prompt} bytes ` +
        `(max_position_embeddings ${maxPositions}), got ${count}`,
    );
  }
  return prompt + count - 1;
}

/** @throws {RangeError} The context is too short. */
export function generate(
  model: LanguageModel,
  prompt: Uint8Array,
  { count, sample, emit }: GenerateOptions,
): Generation {
  const stream = new TextStream();
  const tokens: number[] = [];
  let text = "";
  const start = performance.now();
  let logits = model.prefill(prompt);
  const middle = performance.now();
  let steps = 0;
  for (;;) {
    const token = sample(logits);
    if (model.config.endTokens.includes(token)) break;
    tokens.push(token);
    const piece = stream.push([token]);
    text += piece;
    if (piece !== "") emit?.(piece);
    if (tokens.length === count) break;
    logits = model.step(token);
    steps++;
  }
  const end = performance.now();
  return {
    text,
    tokens,
    promptTokens: prompt.length,
    steps,
    prefillSeconds: (middle - start) / 1000,
    decodeSeconds: (end - middle) / 1000,
  };
}
