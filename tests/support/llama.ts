/** Made-up Llama weights: every tensor that a config asks for, by its Hugging Face name. */
import type { FileTensor } from "../../src/io/tensor.ts";
import type { LlamaConfig } from "../../src/model/config.ts";
import { fromFloat64 } from "../../src/tensor.ts";

/** @param value Of each element; zeros if not given. */
export function tensorsOf(
  config: LlamaConfig,
  dtype: FileTensor["dtype"] = "float32",
  value: (name: string, shape: number[]) => number = () => 0,
): Map<string, FileTensor> {
  const { hidden: C, intermediate: I, heads: H, kvHeads: G, headDim: D } = config;
  const tensors = new Map<string, FileTensor>();
  const add = (name: string, ...shape: number[]) => {
    const size = shape.reduce((a, b) => a * b);
    const values = Float64Array.from({ length: size }, () => value(name, shape));
    tensors.set(name, { dtype, shape, data: fromFloat64(values, dtype) });
  };
  add("model.embed_tokens.weight", 256, C);
  add("model.norm.weight", C);
  if (!config.tied) add("lm_head.weight", 256, C);
  for (let l = 0; l < config.layers; l++) {
    const at = `model.layers.${l}`;
    add(`${at}.input_layernorm.weight`, C);
    add(`${at}.post_attention_layernorm.weight`, C);
    const projections: [string, number, number, boolean][] = [
      ["self_attn.q_proj", H * D, C, config.attentionBias],
      ["self_attn.k_proj", G * D, C, config.attentionBias],
      ["self_attn.v_proj", G * D, C, config.attentionBias],
      ["self_attn.o_proj", C, H * D, config.attentionBias],
      ["mlp.gate_proj", I, C, config.mlpBias],
      ["mlp.up_proj", I, C, config.mlpBias],
      ["mlp.down_proj", C, I, config.mlpBias],
    ];
    for (const [name, out, depth, bias] of projections) {
      add(`${at}.${name}.weight`, out, depth);
      if (bias) add(`${at}.${name}.bias`, out);
    }
  }
  return tensors;
}
