/**
 * The tensors of a Llama model by their Hugging Face names, each checked against config.json, none missing and none
 * left over: a bias that the config does not know would otherwise be dropped in silence and change every logit.
 */
import { type Fail, faultsOf, printable } from "../io/fault.ts";
import type { FileTensor } from "../io/tensor.ts";
import type { LlamaConfig } from "./config.ts";

/** y = x·Wᵀ + b with W [out, in]. */
export interface LinearWeights<T> {
  readonly weight: T;
  readonly bias: T | null;
}

export interface LayerWeights<T> {
  readonly attentionNorm: T;
  readonly q: LinearWeights<T>;
  readonly k: LinearWeights<T>;
  readonly v: LinearWeights<T>;
  readonly o: LinearWeights<T>;
  readonly mlpNorm: T;
  readonly gate: LinearWeights<T>;
  readonly up: LinearWeights<T>;
  readonly down: LinearWeights<T>;
}

export interface ModelWeights<T> {
  /** [V, C]. */
  readonly embedding: T;
  readonly layers: readonly LayerWeights<T>[];
  readonly norm: T;
  /** [V, C]; the embedding itself where they are tied. */
  readonly head: T;
}

const FLOATS: readonly string[] = ["float16", "bfloat16", "float32", "float64"];

/** Names that may be there and are not read: old checkpoints store RoPE's frequencies, some a tied head. */
const IDLE = /^model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$/;

/**
 * @param tensors What readSafetensors found.
 * @param name What messages call the file.
 * @throws {SyntaxError} A tensor is missing, left over, or has the wrong shape or dtype; the message names it.
 */
export function readWeights(
  tensors: ReadonlyMap<string, FileTensor>,
  config: LlamaConfig,
  name = "model.safetensors",
): ModelWeights<FileTensor> {
  const fail: Fail = faultsOf(name);
  const taker = new Taker(tensors, fail);
  const { vocabulary: V, hidden: C, intermediate: I, headDim: D, attentionBias, mlpBias } = config;
  const query = config.heads * D;
  const keyValue = config.kvHeads * D;
  const embedding = taker.take("model.embed_tokens.weight", [V, C]);
  const layers = Array.from({ length: config.layers }, (_, layer): LayerWeights<FileTensor> => {
    const at = `model.layers.${layer}`;
    return {
      attentionNorm: taker.take(`${at}.input_layernorm.weight`, [C]),
      q: taker.linear(`${at}.self_attn.q_proj`, [query, C], attentionBias),
      k: taker.linear(`${at}.self_attn.k_proj`, [keyValue, C], attentionBias),
      v: taker.linear(`${at}.self_attn.v_proj`, [keyValue, C], attentionBias),
      o: taker.linear(`${at}.self_attn.o_proj`, [C, query], attentionBias),
      mlpNorm: taker.take(`${at}.post_attention_layernorm.weight`, [C]),
      gate: taker.linear(`${at}.mlp.gate_proj`, [I, C], mlpBias),
      up: taker.linear(`${at}.mlp.up_proj`, [I, C], mlpBias),
      down: taker.linear(`${at}.mlp.down_proj`, [C, I], mlpBias),
    };
  });
  const norm = taker.take("model.norm.weight", [C]);
  const head = config.tied ? embedding : taker.take("lm_head.weight", [V, C]);
  taker.end(config.tied ? "lm_head.weight" : "");
  return { embedding, layers, norm, head };
}

class Taker {
  readonly #tensors: ReadonlyMap<string, FileTensor>;
  readonly #fail: Fail;
  readonly #taken = new Set<string>();

  constructor(tensors: ReadonlyMap<string, FileTensor>, fail: Fail) {
    this.#tensors = tensors;
    this.#fail = fail;
  }

  take(name: string, shape: readonly number[]): FileTensor {
    const tensor = this.#tensors.get(name);
    const wanted = `[${shape.join(", ")}]`;
    if (tensor === undefined) this.#fail(`tensors.${name}`, `expected ${wanted}, got none`);
    if (tensor.shape.length !== shape.length || tensor.shape.some((n, axis) => n !== shape[axis])) {
      this.#fail(`tensors.${name}.shape`, `expected ${wanted}, got [${tensor.shape.join(", ")}]`);
    }
    if (!FLOATS.includes(tensor.dtype)) {
      this.#fail(`tensors.${name}.dtype`, `expected ${FLOATS.join(" or ")}, got ${tensor.dtype}`);
    }
    this.#taken.add(name);
    return tensor;
  }

  linear(
    name: string,
    shape: readonly [out: number, depth: number],
    bias: boolean,
  ): LinearWeights<FileTensor> {
    return {
      weight: this.take(`${name}.weight`, shape),
      bias: bias ? this.take(`${name}.bias`, [shape[0]]) : null,
    };
  }

  /** Nothing but `idle` names may be left. */
  end(idle: string): void {
    for (const name of this.#tensors.keys()) {
      if (this.#taken.has(name) || name === idle || IDLE.test(name)) continue;
      this.#fail(`tensors.${printable(name)}`, "expected no such tensor with this config, got one");
    }
  }
}
