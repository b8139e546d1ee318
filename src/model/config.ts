/**
 * config.json of a Llama model in the Hugging Face layout, reduced to what the forward pass needs. Every field that
 * changes the mathematics is checked; a value that this code does not compute is refused by name, never ignored.
 *
 * Defaults of absent fields are those of transformers' LlamaConfig, except that a model without eos_token_id has
 * none: byte vocabularies rarely do.
 */
import { type Fail, faultsOf, printable } from "../io/fault.ts";

/** How RoPE's inverse frequencies are stretched: rope.ts. */
export type RopeScaling =
  | { readonly type: "default" }
  | { readonly type: "linear"; readonly factor: number }
  | {
    readonly type: "llama3";
    readonly factor: number;
    readonly lowFrequencyFactor: number;
    readonly highFrequencyFactor: number;
    readonly originalPositions: number;
  };

/** A checked configuration. */
export interface LlamaConfig {
  /** V: a token is a byte. */
  readonly vocabulary: 256;
  /** C, the width of the residual stream. */
  readonly hidden: number;
  /** I, the width between gate·up and down. */
  readonly intermediate: number;
  readonly layers: number;
  /** H and G: query head h reads key/value head ⌊h·G/H⌋. */
  readonly heads: number;
  readonly kvHeads: number;
  /** D, even. */
  readonly headDim: number;
  /** Longest context the model was trained for. */
  readonly maxPositions: number;
  readonly normEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  /** Biases of q, k, v, o and of gate, up, down. */
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  /** lm_head is the embedding. */
  readonly tied: boolean;
  /** Tokens that end a text. */
  readonly endTokens: readonly number[];
}

/** Larger than any Llama, small enough that products of two stay exact and a hostile file allocates nothing. */
const MAX_WIDTH = 1 << 20;
const MAX_LAYERS = 1 << 12;
const MAX_POSITIONS = 1 << 24;

/**
 * Reads config.json.
 *
 * @param text The file.
 * @param name What messages call it.
 * @throws {SyntaxError} No JSON, or a field that is missing, wrong or not supported; the message names it.
 *
 * @example
 * ```ts
 * import { parseConfig } from "./src/model/config.ts";
 * const config = parseConfig(`{"model_type":"llama","vocab_size":256,"hidden_size":64,"intermediate_size":128,
 *   "num_hidden_layers":2,"num_attention_heads":4,"hidden_act":"silu"}`);
 * console.log(config.headDim, config.kvHeads, config.tied); // 16 4 false
 * ```
 */
export function parseConfig(text: string, name = "config.json"): LlamaConfig {
  const fail: Fail = faultsOf(name);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    fail("file", `expected JSON, got ${printable((cause as Error).message)}`);
  }
  if (!isRecord(json)) fail("file", `expected a JSON object, got ${show(json)}`);
  const read = new FieldReader(json, fail);

  read.only("model_type", ["llama"]);
  read.only("vocab_size", [256]);
  read.only("hidden_act", ["silu"], "silu");
  read.only("quantization_config", [null], null);
  read.only("partial_rotary_factor", [1], 1);
  read.only("sliding_window", [null], null);

  const hidden = read.count("hidden_size", MAX_WIDTH);
  const heads = read.count("num_attention_heads", MAX_WIDTH);
  const kvHeads = read.count("num_key_value_heads", MAX_WIDTH, heads);
  if (heads % kvHeads !== 0) {
    fail("num_key_value_heads", `expected a divisor of num_attention_heads ${heads}, got ${kvHeads}`);
  }
  if (!read.has("head_dim") && hidden % heads !== 0) {
    fail("num_attention_heads", `expected a divisor of hidden_size ${hidden}, got ${heads}`);
  }
  const headDim = read.count("head_dim", MAX_WIDTH, hidden / heads);
  if (headDim % 2 !== 0) fail("head_dim", `expected an even width, got ${headDim}`);
  const maxPositions = read.count("max_position_embeddings", MAX_POSITIONS, 2048);

  return {
    vocabulary: 256,
    hidden,
    intermediate: read.count("intermediate_size", MAX_WIDTH),
    layers: read.count("num_hidden_layers", MAX_LAYERS),
    heads,
    kvHeads,
    headDim,
    maxPositions,
    normEps: read.positive("rms_norm_eps", 1e-6),
    ...readRope(read, maxPositions),
    attentionBias: read.flag("attention_bias"),
    mlpBias: read.flag("mlp_bias"),
    tied: read.flag("tie_word_embeddings"),
    endTokens: read.tokens("eos_token_id"),
  };
}

/** RoPE stands in rope_theta and rope_scaling, or since transformers 5 together in rope_parameters. */
function readRope(read: FieldReader, maxPositions: number): Pick<LlamaConfig, "ropeTheta" | "ropeScaling"> {
  const together = read.record("rope_parameters");
  const scaling = together ?? read.record("rope_scaling");
  const ropeTheta = (together?.has("rope_theta") ? together : read).positive("rope_theta", 10000);
  if (!scaling) return { ropeTheta, ropeScaling: { type: "default" } };
  // Files older than transformers 4.43 say `type`.
  const key = scaling.has("rope_type") ? "rope_type" : "type";
  const type = scaling.only(key, ["default", "linear", "llama3"], "default");
  if (type === "default") return { ropeTheta, ropeScaling: { type } };
  const factor = scaling.positive("factor");
  if (type === "linear") return { ropeTheta, ropeScaling: { type, factor } };
  const lowFrequencyFactor = scaling.positive("low_freq_factor");
  const highFrequencyFactor = scaling.positive("high_freq_factor");
  if (highFrequencyFactor <= lowFrequencyFactor) {
    scaling.fail(
      "high_freq_factor",
      `expected > low_freq_factor ${lowFrequencyFactor}, got ${highFrequencyFactor}`,
    );
  }
  const originalPositions = scaling.count("original_max_position_embeddings", MAX_POSITIONS, maxPositions);
  return {
    ropeTheta,
    ropeScaling: { type, factor, lowFrequencyFactor, highFrequencyFactor, originalPositions },
  };
}

type Json = Readonly<Record<string, unknown>>;

/** Takes fields out of a JSON object, each with the check that its kind needs; null counts as absent. */
class FieldReader {
  readonly #json: Json;
  readonly #fail: Fail;
  readonly #path: string;

  constructor(json: Json, fail: Fail, path = "") {
    this.#json = json;
    this.#fail = fail;
    this.#path = path;
  }

  fail(field: string, problem: string): never {
    this.#fail(this.#path + field, problem);
  }

  has(field: string): boolean {
    return Object.hasOwn(this.#json, field) && this.#json[field] !== null;
  }

  /** One of `allowed`; `absent` is what a missing field means, without it the field is needed. */
  only<T extends string | number | null>(field: string, allowed: readonly T[], absent?: T): T {
    const value = this.has(field) ? this.#json[field] : absent;
    const found = allowed.find((one) => one === value);
    if (found === undefined) {
      this.fail(field, `expected ${allowed.map(show).join(" or ")}, got ${show(value)}`);
    }
    return found;
  }

  count(field: string, most: number, absent?: number): number {
    const value = this.has(field) ? this.#json[field] : absent;
    if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > most) {
      this.fail(field, `expected an integer from 1 to ${most}, got ${show(value)}`);
    }
    return value as number;
  }

  positive(field: string, absent?: number): number {
    const value = this.has(field) ? this.#json[field] : absent;
    if (typeof value !== "number" || !(value > 0 && value < Infinity)) {
      this.fail(field, `expected a number > 0, got ${show(value)}`);
    }
    return value;
  }

  flag(field: string): boolean {
    const value = this.has(field) ? this.#json[field] : false;
    if (typeof value !== "boolean") this.fail(field, `expected true or false, got ${show(value)}`);
    return value;
  }

  /** A token or a list of them; none if absent. */
  tokens(field: string): number[] {
    const value = this.has(field) ? this.#json[field] : [];
    const list: unknown[] = Array.isArray(value) ? value : [value];
    const bad = list.find((token) =>
      !Number.isInteger(token) || (token as number) < 0 || (token as number) > 255
    );
    if (bad !== undefined) this.fail(field, `expected tokens from 0 to 255, got ${show(bad)}`);
    return list as number[];
  }

  record(field: string): FieldReader | null {
    if (!this.has(field)) return null;
    const value = this.#json[field];
    if (!isRecord(value)) this.fail(field, `expected an object, got ${show(value)}`);
    return new FieldReader(value, this.#fail, `${this.#path}${field}.`);
  }
}

function isRecord(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  return value === undefined ? "none" : printable(JSON.stringify(value));
}
