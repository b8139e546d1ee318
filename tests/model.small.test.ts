/** Small made-up models: shapes, formats and options that the shipped model has not. */
import { describe, expect, it } from "vitest";
import type { FileTensor } from "../src/io/tensor.ts";
import { type LlamaConfig, parseConfig } from "../src/model/config.ts";
import type { ImplementationName } from "../src/model/implementation.ts";
import { createImplementation } from "../src/model/implementations.ts";
import { LanguageModel } from "../src/model/languagemodel.ts";
import { createRandom } from "../src/model/random.ts";
import { readWeights } from "../src/model/weights.ts";
import { apart } from "./support/apart.ts";
import { tensorsOf } from "./support/llama.ts";
import { heldOut } from "./support/moby.ts";

/** Widths and head counts that no tile likes; biases; a head of its own. */
const shapes: [what: string, fields: Record<string, unknown>][] = [
  ["D 6, one key/value head", {
    hidden_size: 18,
    head_dim: 6,
    num_attention_heads: 3,
    num_key_value_heads: 1,
  }],
  ["D 20, as many heads", { hidden_size: 40, num_attention_heads: 2, num_key_value_heads: 2 }],
  ["biases", { hidden_size: 32, num_attention_heads: 4, attention_bias: true, mlp_bias: true }],
  ["tied", { hidden_size: 32, num_attention_heads: 2, tie_word_embeddings: true }],
  ["Llama 3 angles", {
    hidden_size: 32,
    num_attention_heads: 2,
    rope_theta: 500,
    rope_scaling: {
      rope_type: "llama3",
      factor: 4,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    },
  }],
];

describe.each(shapes)("a small model with %s", (_, fields) => {
  const small = parseConfig(JSON.stringify({
    model_type: "llama",
    vocab_size: 256,
    intermediate_size: 37,
    num_hidden_layers: 2,
    max_position_embeddings: 96,
    ...fields,
  }));
  const text = heldOut.subarray(0, 90);

  it.each(["float32", "float16", "bfloat16", "float64"] as const)(
    "computes alike from %s weights",
    (dtype) => {
      const given = { config: small, weights: readWeights(randomTensors(small, dtype), small) };
      const run = (name: ImplementationName) => {
        const model = LanguageModel.load(given, createImplementation(name));
        const prefilled = model.prefill(text.subarray(0, 70), "all");
        const decoded = Array.from(text.subarray(70), (token) => [...model.step(token)]).flat();
        return Float64Array.from([...prefilled, ...decoded]);
      };
      const exact = run("reference");
      const size = apart(exact, new Float64Array(exact.length));
      expect(size).toBeGreaterThan(0.1);
      // A layer adds less than (C + I + H·D + M + 64) < 400 roundings to a residual stream that norms keep at its size,
      // and weights of norm about 1 pass on what came before: 2 layers and the head, float32.
      const tolerance = 3 * 400 * 2 ** -24 * size;
      expect(apart(run("deterministic"), exact)).toBeLessThan(tolerance);
    },
  );
});

describe("laws of a small model", () => {
  const fields = {
    model_type: "llama",
    vocab_size: 256,
    hidden_size: 24,
    intermediate_size: 16,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 64,
  };
  const text = heldOut.subarray(0, 40);
  const run = (small: LlamaConfig, tensors: Map<string, FileTensor>) =>
    LanguageModel.load(
      { config: small, weights: readWeights(tensors, small) },
      createImplementation("reference"),
    )
      .prefill(text, "all");
  const edit = (tensors: Map<string, FileTensor>, name: string, change: (x: number, i: number) => number) => {
    const tensor = tensors.get(name)!;
    tensors.set(name, { ...tensor, data: (tensor.data as Float64Array).map(change) });
  };

  it("has a head that is the embedding exactly where the config says so", () => {
    const tied = parseConfig(JSON.stringify({ ...fields, tie_word_embeddings: true }));
    const untied = parseConfig(JSON.stringify(fields));
    const tensors = randomTensors(tied, "float64");
    const expected = run(tied, tensors);
    tensors.set("lm_head.weight", tensors.get("model.embed_tokens.weight")!);
    edit(tensors, "lm_head.weight", (x) => 2 * x);
    expect(run(untied, tensors)).toEqual(expected.map((x: number) => 2 * x));
  });

  // Rows of P sum to 1, so a constant added to every value comes out of attention as it went in.
  it("passes a bias of the values through attention", () => {
    const small = parseConfig(JSON.stringify({ ...fields, attention_bias: true }));
    const tensors = randomTensors(small, "float64");
    const expected = run(small, tensors);
    const at = "model.layers.1.self_attn";
    const bias = tensors.get(`${at}.v_proj.bias`)!.data as Float64Array;
    const W = tensors.get(`${at}.o_proj.weight`)!.data as Float64Array;
    edit(tensors, `${at}.v_proj.bias`, () => 0);
    // o = Wo·[v of head 0, 1, 2, 3], D = 6, and heads 2g and 2g + 1 read key/value head g.
    edit(tensors, `${at}.o_proj.bias`, (x, i) => {
      for (let n = 0; n < 24; n++) x += W[i * 24 + n] * bias[Math.floor(n / 12) * 6 + n % 6];
      return x;
    });
    const got = run(small, tensors);
    // Some 100 roundings of float64 on numbers of order 10.
    expect(apart(got, expected)).toBeLessThan(1000 * 2 ** -53);
    edit(tensors, `${at}.o_proj.bias`, () => 0);
    expect(apart(run(small, tensors), expected)).toBeGreaterThan(0.01);
  });
});

/** Weights of order 1/√depth, gains round 1, biases of order 1/4, in the given format. */
function randomTensors(small: LlamaConfig, dtype: FileTensor["dtype"]): Map<string, FileTensor> {
  const random = createRandom(1);
  return tensorsOf(small, dtype, (name, shape) => {
    if (name.endsWith("norm.weight")) return 0.75 + random() / 2;
    if (name.endsWith("bias")) return (random() - 0.5) / 2;
    return (2 * random() - 1) * Math.sqrt(3 / shape[1]);
  });
}
