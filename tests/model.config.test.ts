/** config.json, tensors by name, and the angles that follow: what is read before a model exists. */
import { describe, expect, it } from "vitest";
import type { FileTensor } from "../src/io/tensor.ts";
import { parseConfig } from "../src/model/config.ts";
import { inverseFrequencies, ropeTables } from "../src/model/rope.ts";
import { readWeights } from "../src/model/weights.ts";
import { tensorsOf } from "./support/llama.ts";

const base = {
  model_type: "llama",
  vocab_size: 256,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  hidden_act: "silu",
};
const parse = (fields: object) => parseConfig(JSON.stringify({ ...base, ...fields }));

describe("config", () => {
  it("fills absent fields as transformers does", () => {
    expect(parse({ num_key_value_heads: undefined, max_position_embeddings: undefined })).toEqual({
      vocabulary: 256,
      hidden: 8,
      intermediate: 12,
      layers: 2,
      heads: 4,
      kvHeads: 4,
      headDim: 2,
      maxPositions: 2048,
      normEps: 1e-6,
      ropeTheta: 10000,
      ropeScaling: { type: "default" },
      attentionBias: false,
      mlpBias: false,
      tied: false,
      endTokens: [],
    });
  });

  it("takes a head_dim that hidden_size knows nothing of", () => {
    expect(parse({ head_dim: 6 }).headDim).toBe(6);
    expect(parse({ hidden_size: 10, head_dim: 4 }).headDim).toBe(4);
  });

  it("reads both spellings of RoPE's scaling", () => {
    const scaling = {
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    };
    const expected = {
      ropeTheta: 500000,
      ropeScaling: {
        type: "llama3",
        factor: 8,
        lowFrequencyFactor: 1,
        highFrequencyFactor: 4,
        originalPositions: 32,
      },
    };
    expect(parse({ rope_theta: 500000, rope_scaling: { rope_type: "llama3", ...scaling } })).toMatchObject(
      expected,
    );
    expect(parse({ rope_parameters: { rope_theta: 500000, rope_type: "llama3", ...scaling } })).toMatchObject(
      expected,
    );
    expect(parse({ rope_scaling: { type: "linear", factor: 2 } }).ropeScaling).toEqual({
      type: "linear",
      factor: 2,
    });
  });

  it("reads end tokens, one or many", () => {
    expect(parse({ eos_token_id: 0 }).endTokens).toEqual([0]);
    expect(parse({ eos_token_id: [0, 10] }).endTokens).toEqual([0, 10]);
  });

  const wrong: [fields: Record<string, unknown>, message: string][] = [
    [{ model_type: "gpt2" }, `model_type: expected "llama", got "gpt2"`],
    [{ model_type: undefined }, `model_type: expected "llama", got none`],
    [{ vocab_size: 32000 }, "vocab_size: expected 256, got 32000"],
    [{ hidden_act: "gelu" }, `hidden_act: expected "silu", got "gelu"`],
    [{ hidden_size: 0 }, "hidden_size: expected an integer from 1 to 1048576, got 0"],
    [{ hidden_size: undefined }, "hidden_size: expected an integer from 1 to 1048576, got none"],
    [{ hidden_size: 9 }, "num_attention_heads: expected a divisor of hidden_size 9, got 4"],
    [{ intermediate_size: 1.5 }, "intermediate_size: expected an integer from 1 to 1048576, got 1.5"],
    [{ num_hidden_layers: 1e9 }, "num_hidden_layers: expected an integer from 1 to 4096, got 1000000000"],
    [{ num_attention_heads: "4" }, `num_attention_heads: expected an integer from 1 to 1048576, got "4"`],
    [{ num_key_value_heads: 3 }, "num_key_value_heads: expected a divisor of num_attention_heads 4, got 3"],
    [{ head_dim: 3 }, "head_dim: expected an even width, got 3"],
    [
      { max_position_embeddings: -1 },
      "max_position_embeddings: expected an integer from 1 to 16777216, got -1",
    ],
    [{ rms_norm_eps: -1e-5 }, "rms_norm_eps: expected a number > 0, got -0.00001"],
    [{ rope_theta: 0 }, "rope_theta: expected a number > 0, got 0"],
    [{ rope_scaling: 2 }, "rope_scaling: expected an object, got 2"],
    [
      { rope_scaling: { rope_type: "yarn", factor: 4 } },
      `rope_scaling.rope_type: expected "default" or "linear" or "llama3", got "yarn"`,
    ],
    [{ rope_scaling: { type: "linear" } }, "rope_scaling.factor: expected a number > 0, got none"],
    [
      { rope_scaling: { type: "llama3", factor: 8, low_freq_factor: 4, high_freq_factor: 4 } },
      "rope_scaling.high_freq_factor: expected > low_freq_factor 4, got 4",
    ],
    [{ rope_parameters: { rope_theta: -1 } }, "rope_parameters.rope_theta: expected a number > 0, got -1"],
    [{ attention_bias: "no" }, `attention_bias: expected true or false, got "no"`],
    [{ mlp_bias: 1 }, "mlp_bias: expected true or false, got 1"],
    [{ tie_word_embeddings: 0 }, "tie_word_embeddings: expected true or false, got 0"],
    [{ eos_token_id: 256 }, "eos_token_id: expected tokens from 0 to 255, got 256"],
    [{ sliding_window: 4096 }, "sliding_window: expected null, got 4096"],
    [{ partial_rotary_factor: 0.5 }, "partial_rotary_factor: expected 1, got 0.5"],
    [{ quantization_config: { bits: 4 } }, `quantization_config: expected null, got {"bits":4}`],
  ];
  it.each(wrong)("refuses %j", (fields, message) => {
    expect(() => parse(fields)).toThrow(new SyntaxError(`config.json: ${message}`));
  });

  it("refuses what is no JSON object, on one line", () => {
    expect(() => parseConfig("[1]")).toThrow(
      new SyntaxError("config.json: file: expected a JSON object, got [1]"),
    );
    expect(() => parseConfig("{\n", "x/config.json")).toThrow(
      /^x\/config\.json: file: expected JSON, got [^\n]*$/,
    );
  });
});

describe("weights", () => {
  const config = parse({ head_dim: 6, attention_bias: true, mlp_bias: true });

  it("takes every tensor, biases and an untied head included", () => {
    const weights = readWeights(tensorsOf(config), config);
    expect(weights.layers.length).toBe(2);
    expect(weights.layers[1].k.weight.shape).toEqual([12, 8]);
    expect(weights.layers[1].down.bias?.shape).toEqual([8]);
    expect(weights.head).not.toBe(weights.embedding);
    const tied = parse({ tie_word_embeddings: true });
    const shared = readWeights(tensorsOf(tied), tied);
    expect(shared.head).toBe(shared.embedding);
    expect(shared.layers[0].q.bias).toBeNull();
  });

  it("reads past what old checkpoints store without need", () => {
    const tensors = tensorsOf(config);
    tensors.set("model.layers.0.self_attn.rotary_emb.inv_freq", tensors.get("model.norm.weight")!);
    expect(() => readWeights(tensors, config)).not.toThrow();
  });

  it("names a tensor that is missing, left over, of another shape or no float", () => {
    const broken = (change: (tensors: Map<string, FileTensor>) => void) => {
      const tensors = tensorsOf(config);
      change(tensors);
      return () => readWeights(tensors, config);
    };
    const q = "model.layers.1.self_attn.q_proj";
    expect(broken((t) => t.delete(`${q}.weight`))).toThrow(
      new SyntaxError(`model.safetensors: tensors.${q}.weight: expected [24, 8], got none`),
    );
    expect(broken((t) => t.get(`${q}.weight`)!.shape = [8, 24])).toThrow(
      new SyntaxError(`model.safetensors: tensors.${q}.weight.shape: expected [24, 8], got [8, 24]`),
    );
    expect(broken((t) => t.get(`${q}.bias`)!.dtype = "int32")).toThrow(
      `tensors.${q}.bias.dtype: expected float16 or bfloat16 or float32 or float64, got int32`,
    );
    expect(broken((t) => t.set("model.layers.2.x", t.get("model.norm.weight")!))).toThrow(
      new SyntaxError(
        "model.safetensors: tensors.model.layers.2.x: expected no such tensor with this config, got one",
      ),
    );
    const unbiased = parse({ head_dim: 6 });
    expect(() => readWeights(tensorsOf(config), unbiased)).toThrow(/q_proj\.bias: expected no such tensor/);
  });
});

describe("RoPE", () => {
  // numpy 2.4 in long double: 10000**(-2*i/64), cos and sin of 1023 times that.
  it("turns by position · θ^(−2i/D)", () => {
    const { cos, sin } = ropeTables(
      { headDim: 64, ropeTheta: 10000, ropeScaling: { type: "default" } },
      1024,
    );
    const at = (i: number) => 1023 * 32 + i;
    expect([cos[0], sin[0], cos[31], sin[31]]).toEqual([1, 0, 1, 0]);
    const expected: [i: number, cos: number, sin: number][] = [
      [0, 0.4000681972008891, -0.9164853722719367],
      [1, 0.8291735853872335, 0.5589912032367594],
      [16, -0.6929511652560963, -0.7209845231142055],
      [31, 0.9907093170168261, 0.13599650427880106],
    ];
    for (const [i, c, s] of expected) {
      // The angle p·ω is rounded: 3 roundings (pow, quotient, product) of half an ulp each, felt as |angle|·1.5·2^−53.
      const bound = 1.5 * 2 ** -53 * 1023 / 10000 ** (i / 32) + 2 ** -53;
      expect(Math.abs(cos[at(i)] - c)).toBeLessThanOrEqual(bound);
      expect(Math.abs(sin[at(i)] - s)).toBeLessThanOrEqual(bound);
    }
  });

  it("stretches wavelengths as Llama 3.1 does", () => {
    const plain = { headDim: 128, ropeTheta: 500000, ropeScaling: { type: "default" as const } };
    const before = inverseFrequencies(plain);
    const after = inverseFrequencies({
      ...plain,
      ropeScaling: {
        type: "llama3",
        factor: 8,
        lowFrequencyFactor: 1,
        highFrequencyFactor: 4,
        originalPositions: 8192,
      },
    });
    const ratio = Array.from(before, (x, i) => x / after[i]);
    // Wavelengths below 8192/4 stay, beyond 8192 are 8 times longer: i ≤ 28 and i ≥ 35 of θ^(−i/64).
    expect(ratio.slice(0, 29).every((r) => r === 1)).toBe(true);
    expect(ratio.slice(35).every((r) => r === 8)).toBe(true);
    for (let i = 29; i < 35; i++) expect(ratio[i]).toBeGreaterThan(ratio[i - 1]);
    const halved = inverseFrequencies({ ...plain, ropeScaling: { type: "linear", factor: 2 } });
    expect(halved).toEqual(before.map((x) => x / 2));
  });
});
