/**
 * The forward pass of a Llama (Touvron et al., arXiv 2302.13971; names as in Hugging Face's LlamaForCausalLM), the
 * same for every back end. x is the residual stream [N,C]:
 *
 *   x = embedding[tokens]
 *   per layer:  h = norm(x);  q, k, v = h·Wq,k,vᵀ;  RoPE on q and k;  x += attention(q, K, V)·Woᵀ
 *               h = norm(x);  x += (silu(h·Wgᵀ) · h·Wuᵀ)·Wdᵀ
 *   logits = norm(x)·Whᵀ
 *
 * A single token's attention is float32 whatever the precision: it reads each key and value once, and quantising them
 * would read them once more. k and v are written straight into the rows of the cache that the new tokens take. 2·N·parameters flops, and
 * 4·N·M·H·D of attention a layer (half of it in a prefill).
 */
import type { LlamaConfig } from "./config.ts";
import type { Implementation, Linear, Values } from "./implementation.ts";
import type { KeyValueCache } from "./cache.ts";
import type { Recipe } from "../precision.ts";
import type { LayerWeights, ModelWeights } from "./weights.ts";

/** The weights in a back end's memory. */
export interface LoadedLayer<T>
  extends Omit<LayerWeights<T>, "q" | "k" | "v" | "o" | "gate" | "up" | "down"> {
  readonly q: Linear<T>;
  readonly k: Linear<T>;
  readonly v: Linear<T>;
  readonly o: Linear<T>;
  readonly gate: Linear<T>;
  readonly up: Linear<T>;
  readonly down: Linear<T>;
}

export interface LoadedModel<T> extends Omit<ModelWeights<T>, "layers" | "head"> {
  readonly config: LlamaConfig;
  readonly layers: readonly LoadedLayer<T>[];
  readonly head: Linear<T>;
  readonly angles: { readonly cos: T; readonly sin: T };
  /** How each layer quantises the attention of several tokens at once; null: not. */
  readonly recipes: readonly (Recipe | null)[];
}

/** Called after the attention of each layer with its queries and its result, both [N,H,D], and how it was quantised. */
export type Observer = (layer: number, q: Values, out: Values, recipe: Recipe | null) => void;

/** Logits [N,V] of all the tokens, or [1,V] of the last one; the cache grows by N. */
export function forward<T>(
  ops: Implementation<T>,
  model: LoadedModel<T>,
  cache: KeyValueCache<T>,
  tokens: Uint8Array,
  rows: "all" | "last",
  observe?: Observer,
): Values {
  const { hidden: C, intermediate: I, heads: H, kvHeads: G, headDim: D, normEps, vocabulary: V } =
    model.config;
  const N = tokens.length;
  const first = cache.length;
  return ops.scratch(() => {
    const x = ops.allocate(N * C);
    const h = ops.allocate(N * C);
    const q = ops.allocate(N * H * D);
    const out = ops.allocate(N * H * D);
    const gate = ops.allocate(N * I);
    const up = ops.allocate(N * I);

    ops.embed(model.embedding, tokens, C, x);
    model.layers.forEach((layer, l) => {
      const { k, v } = cache.layer(l);
      const newK = ops.part(k, first * G * D);
      const newV = ops.part(v, first * G * D);
      ops.rmsNorm(x, layer.attentionNorm, N, C, normEps, h);
      ops.linear(h, layer.q, N, q);
      ops.linear(h, layer.k, N, newK);
      ops.linear(h, layer.v, N, newV);
      ops.rotate(q, model.angles, N, H, D, first);
      ops.rotate(newK, model.angles, N, G, D, first);
      const recipe = N === 1 ? null : model.recipes[l];
      ops.attend(q, k, v, { N, M: first + N, H, G, D, recipe }, out);
      observe?.(l, ops.read(q, N * H * D), ops.read(out, N * H * D), recipe);
      ops.linear(out, layer.o, N, h);
      ops.add(x, h, N * C);

      ops.rmsNorm(x, layer.mlpNorm, N, C, normEps, h);
      ops.linear(h, layer.gate, N, gate);
      ops.linear(h, layer.up, N, up);
      ops.gate(gate, up, N * I);
      ops.linear(gate, layer.down, N, h);
      ops.add(x, h, N * C);
    });
    cache.grow(N);

    const asked = rows === "all" ? N : 1;
    const from = ops.part(x, (N - asked) * C);
    ops.rmsNorm(from, model.norm, asked, C, normEps, h);
    const logits = ops.allocate(asked * V);
    ops.linear(h, model.head, asked, logits);
    return ops.read(logits, asked * V);
  });
}
