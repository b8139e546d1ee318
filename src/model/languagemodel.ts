/** A Llama model that reads and continues a text: weights, RoPE's angles and the KV cache in one back end. */
import type { FileTensor } from "../io/tensor.ts";
import { type Precision, type Recipe, resolvePrecision } from "../precision.ts";
import { createCache, type KeyValueCache } from "./cache.ts";
import type { LlamaConfig } from "./config.ts";
import { forward, type LoadedModel, type Observer } from "./forward.ts";
import type { Implementation, Values } from "./implementation.ts";
import { ropeTables } from "./rope.ts";
import type { LinearWeights, ModelWeights } from "./weights.ts";

/** All that lives in the back end's memory. */
interface Parts<T> {
  readonly ops: Implementation<T>;
  readonly model: LoadedModel<T>;
  readonly cache: KeyValueCache<T>;
}

export interface LoadOptions {
  /** Tokens that the cache can hold; default, and most, the config's max_position_embeddings. */
  readonly maxTokens?: number;
  /**
   * Arithmetic of the attention of several tokens at once, for all layers or one each; default "float32". A token on
   * its own is attended in float32, the cache is float32.
   */
  readonly precision?: Precision | readonly Precision[];
}

/**
 * @example
 * ```ts
 * import { readFileSync } from "node:fs";
 * import { readSafetensors } from "./src/io/safetensors.ts";
 * import { parseConfig } from "./src/model/config.ts";
 * import { createImplementation } from "./src/model/implementations.ts";
 * import { LanguageModel } from "./src/model/languagemodel.ts";
 * import { argmax } from "./src/model/sampler.ts";
 * import { decode, encode } from "./src/model/text.ts";
 * import { readWeights } from "./src/model/weights.ts";
 *
 * const config = parseConfig(readFileSync("models/moby/config.json", "utf8"));
 * const { tensors } = readSafetensors(readFileSync("models/moby/model.safetensors"));
 * const given = { config, weights: readWeights(tensors, config) };
 * const model = LanguageModel.load(given, createImplementation("deterministic"));
 * let token = argmax(model.prefill(encode("The whal")));
 * const text = [token];
 * for (let i = 0; i < 3; i++) text.push(token = argmax(model.step(token)));
 * console.log(decode(text)); // e is
 * model.close();
 * ```
 */
export class LanguageModel<T = unknown> {
  readonly config: LlamaConfig;
  /** Called after the attention of every layer; costs a copy of q and out. */
  observer: Observer | undefined;
  #open: Parts<T> | null;

  private constructor(parts: Parts<T>) {
    this.config = parts.model.config;
    this.#open = parts;
  }

  /**
   * Copies the weights into the back end's memory; the model owns the back end from here on.
   *
   * @throws {RangeError} maxTokens out of range; a precision that the back end lacks, or not one for each layer.
   * @throws {TypeError} A precision of a wrong kind.
   * @throws {FlashtileError} NO_MEMORY.
   */
  static load<T>(
    { config, weights }: { config: LlamaConfig; weights: ModelWeights<FileTensor> },
    ops: Implementation<T>,
    { maxTokens = config.maxPositions, precision = "float32" }: LoadOptions = {},
  ): LanguageModel<T> {
    if (!Number.isSafeInteger(maxTokens) || maxTokens < 1 || maxTokens > config.maxPositions) {
      throw new RangeError(
        `maxTokens: expected an integer from 1 to ${config.maxPositions} (max_position_embeddings), got ${maxTokens}`,
      );
    }
    const recipes = recipesOf(config, ops, precision);
    const linear = (w: LinearWeights<FileTensor>) => ops.linearWeights(w);
    const model: LoadedModel<T> = {
      config,
      embedding: ops.vector(weights.embedding),
      layers: weights.layers.map((layer) => ({
        attentionNorm: ops.vector(layer.attentionNorm),
        q: linear(layer.q),
        k: linear(layer.k),
        v: linear(layer.v),
        o: linear(layer.o),
        mlpNorm: ops.vector(layer.mlpNorm),
        gate: linear(layer.gate),
        up: linear(layer.up),
        down: linear(layer.down),
      })),
      norm: ops.vector(weights.norm),
      head: linear({ weight: weights.head, bias: null }),
      angles: ops.angles(ropeTables(config, maxTokens)),
      recipes,
    };
    return new LanguageModel({ ops, model, cache: createCache(ops, config, maxTokens) });
  }

  /** Tokens read so far. */
  get length(): number {
    return this.#parts().cache.length;
  }

  /** Names of the kernels that have run so far, in order of first use. */
  get kernels(): string[] {
    return [...this.#parts().ops.kernels];
  }

  /** Bytes of keys and values of the tokens read so far. */
  get cacheBytes(): number {
    const { layers, kvHeads, headDim } = this.config;
    return 2 * layers * this.length * kvHeads * headDim * this.#parts().ops.elementBytes;
  }

  /**
   * Reads tokens, all at once, behind those read before.
   *
   * @param rows "last" (default): logits [256] of what follows the last token; "all": [tokens, 256].
   * @throws {RangeError} No tokens, or more than the context holds.
   */
  prefill(tokens: Uint8Array, rows: "all" | "last" = "last"): Values {
    const { ops, model, cache } = this.#parts();
    const free = cache.capacity - cache.length;
    if (tokens.length === 0) throw new RangeError("tokens: expected at least one, got none");
    if (tokens.length > free) {
      throw new RangeError(
        `tokens: expected at most ${free} (context ${cache.capacity}, ${cache.length} read), got ${tokens.length}`,
      );
    }
    return forward(ops, model, cache, tokens, rows, this.observer);
  }

  /** Reads one token; logits [256] of the next. */
  step(token: number): Values {
    if (!Number.isInteger(token) || token < 0 || token > 255) {
      throw new RangeError(`token: expected an integer from 0 to 255, got ${token}`);
    }
    return this.prefill(Uint8Array.of(token));
  }

  /** Copies of the keys (after RoPE) and values of a layer, [length,G,D] each. */
  keysAndValues(layer: number): { k: Values; v: Values } {
    const { ops, cache } = this.#parts();
    const { k, v } = cache.layer(layer);
    const count = cache.length * this.config.kvHeads * this.config.headDim;
    return { k: ops.read(k, count), v: ops.read(v, count) };
  }

  /** Forgets the text. */
  reset(): void {
    this.#parts().cache.reset();
  }

  /** Lets go of the memory, so that it can be collected; may be called twice. */
  close(): void {
    this.#open = null;
  }

  #parts(): Parts<T> {
    if (this.#open === null) throw new TypeError("model: expected an open model, got a closed one");
    return this.#open;
  }
}

/** A recipe for each layer, each of them tried on one token, so that what the back end lacks is known before the text. */
function recipesOf<T>(
  { layers, headDim }: LlamaConfig,
  ops: Implementation<T>,
  precision: Precision | readonly Precision[],
): (Recipe | null)[] {
  const each = Array.isArray(precision) ? precision as readonly Precision[] : null;
  if (each !== null && each.length !== layers) {
    throw new RangeError(`precision: expected one for each of ${layers} layers, got ${each.length}`);
  }
  const recipes = Array.from(
    { length: layers },
    (_, l) => resolvePrecision(each === null ? precision : each[l]),
  );
  const token = { data: new Float32Array(headDim), shape: [1, 1, 1, headDim] };
  for (const recipe of new Set(recipes)) {
    if (recipe !== null) ops.attention(token, token, token, { precision: recipe });
  }
  return recipes;
}
