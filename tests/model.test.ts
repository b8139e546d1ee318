/**
 * The shipped language model on every back end: logits against PyTorch's in float64, decoding against prefilling,
 * text against text, attention against the oracle.
 */
import { describe, expect, it } from "vitest";
import { checkAttention } from "../src/model/check.ts";
import { contextFor, generate } from "../src/model/generate.ts";
import type { ImplementationName, Values } from "../src/model/implementation.ts";
import { createImplementation } from "../src/model/implementations.ts";
import { LanguageModel } from "../src/model/languagemodel.ts";
import { createSampler } from "../src/model/sampler.ts";
import { bitsPerByte } from "../src/model/score.ts";
import { encode } from "../src/model/text.ts";
import { AttentionTrace } from "../src/model/trace.ts";
import { wasmImplementation } from "../src/model/wasm.ts";
import { createProblem } from "../src/problem.ts";
import { FLOAT32, FLOAT64 } from "../src/verify/arithmetic.ts";
import { forwardBounds } from "../src/verify/bounds.ts";
import { deterministicFull as deterministic } from "../src/wasm/full.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";
import { instantiate } from "../src/wasm/load.ts";
import { apart } from "./support/apart.ts";
import { config, heldOut, logits, metrics, tokens, weights } from "./support/moby.ts";

/** A back end and what the model must reach on it. */
interface Case {
  readonly name: ImplementationName;
  /** |logit − PyTorch's float64 logit| and bits per byte: what the model was accepted with. */
  readonly logits: number;
  readonly bits: number;
  /** The kernels that make a prompt's attention, and a single token's. */
  readonly prompt: string;
  readonly token: string;
}
const cases: Case[] = [
  { name: "reference", logits: 1e-9, bits: 1e-9, prompt: "attentionTiled", token: "attention" },
  { name: "deterministic", logits: 2e-4, bits: 1e-4, prompt: "forward_f32", token: "decode_f32" },
];
if (hasRelaxedSimd()) cases.push({ ...cases[1], name: "relaxed" });

function load(name: ImplementationName, maxTokens = 1024): LanguageModel {
  return LanguageModel.load({ config, weights }, createImplementation(name), { maxTokens });
}

/** Logits of each token, one step at a time, and what attention gave in layer 0. */
function stepped(model: LanguageModel, text: Uint8Array): { all: Values; trace: AttentionTrace } {
  const trace = new AttentionTrace();
  model.observer = trace.observe;
  const all = new Float64Array(text.length * 256);
  text.forEach((token, i) => all.set(model.step(token), i * 256));
  return { all, trace };
}

describe.each(cases)("the shipped model on $name", ({ name, logits: limit, bits, prompt, token }) => {
  it("gives PyTorch's logits and bits per byte", () => {
    const model = load(name);
    const all = model.prefill(heldOut.subarray(0, 1024), "all");
    expect(tokens).toEqual(heldOut.subarray(0, 512));
    expect(apart(all.subarray(0, logits.length), logits)).toBeLessThan(limit);
    const perByte = bitsPerByte(all, heldOut.subarray(1, 1025));
    expect(Math.abs(perByte - metrics.first_1024_moby_bits_per_byte_float64)).toBeLessThan(bits);
  });

  it("decodes what it prefills, through other kernels", () => {
    const text = tokens.subarray(0, 130);
    const whole = load(name);
    const trace = new AttentionTrace();
    whole.observer = trace.observe;
    const prefilled = whole.prefill(text, "all");
    const single = load(name);
    const decoded = stepped(single, text);
    expect(whole.kernels).toContain(prompt);
    expect(whole.kernels).not.toContain(token);
    expect(single.kernels).toContain(token);
    expect(single.kernels).not.toContain(prompt);
    expect(apart(prefilled, logits.subarray(0, prefilled.length))).toBeLessThan(limit);
    expect(apart(decoded.all, logits.subarray(0, prefilled.length))).toBeLessThan(limit);

    // Up to the attention of layer 0 both have the same bits, so its two results differ by at most two errors.
    const [a, b] = [trace.layer(0), decoded.trace.layer(0)];
    expect(b.q).toEqual(a.q);
    const { k, v } = whole.keysAndValues(0);
    expect(single.keysAndValues(0)).toEqual({ k, v });
    const shape = (heads: number) => [1, text.length, heads, config.headDim];
    const problem = createProblem(
      { data: a.q, shape: shape(config.heads) },
      { data: k, shape: shape(config.kvHeads) },
      { data: v, shape: shape(config.kvHeads) },
      { layout: "bnhd", causal: true },
    );
    const arithmetic = name === "reference" ? FLOAT64 : FLOAT32;
    const bounds = forwardBounds(problem, arithmetic, arithmetic).out;
    const beyond = [...bounds.keys()].filter((at) => !(Math.abs(a.out[at] - b.out[at]) <= bounds[at]));
    expect(beyond).toEqual([]);
    expect(apart(a.out, b.out)).toBeGreaterThan(0);
  });

  it("continues a text that came in pieces with the same bits", () => {
    const text = heldOut.subarray(600, 800);
    const whole = load(name);
    const pieces = load(name);
    const expected = whole.prefill(text);
    pieces.prefill(text.subarray(0, 67));
    expect(pieces.prefill(text.subarray(67))).toEqual(expected);
    whole.reset();
    expect(whole.prefill(text)).toEqual(expected);
  });

  it("keeps attention within its bound, prompt and continuation", () => {
    const model = load(name);
    const trace = new AttentionTrace();
    model.observer = trace.observe;
    generate(model, heldOut.subarray(0, 60), { count: 21, sample: createSampler({ temperature: 1 }) });
    const shares: number[] = [];
    const check = checkAttention(model, trace, { progress: (done) => shares.push(done) });
    expect(check.ratio).toBeLessThanOrEqual(1);
    expect(check.ratio).toBeGreaterThan(0);
    expect(check.maxAbs).toBeLessThanOrEqual(check.bound);
    expect(check).toMatchObject({ rows: 80 * 16, bounded: 80 * 16 });
    expect(shares).toEqual([0.25, 0.5, 0.75, 1]);
  });
});

describe("greedy text", () => {
  const prompt = encode("A gentle joyousness—a mighty mildness of repose in swiftness, invested\n");
  const write = (name: ImplementationName) => {
    const { text, tokens } = generate(load(name), prompt, { count: 120, sample: createSampler() });
    return { text, tokens };
  };

  it("is the same on every back end", () => {
    const expected = write("reference");
    expect(expected.tokens.length).toBe(120);
    for (const { name } of cases) expect(write(name), name).toEqual(expected);
  });
});

describe("attention check", () => {
  /** The check of a text of which one result has been tampered with. */
  function tampered(length: number, change: (x: number) => number, row: number, budget = 2 ** 20) {
    const model = load("deterministic");
    const trace = new AttentionTrace();
    model.observer = (layer, q, out, recipe) => {
      const at = row * 256 + 130;
      if (layer === 2) out[at] = change(out[at]);
      trace.observe(layer, q, out, recipe);
    };
    model.prefill(heldOut.subarray(0, length));
    return checkAttention(model, trace, { budget });
  }

  it("finds one wrong element, however long the text", () => {
    const at = { layer: 2, head: 2 };
    expect(tampered(90, (x) => x + 1e-3, 41)).toMatchObject({ at: { ...at, token: 41 }, bounded: 90 * 16 });
    const long = tampered(150, (x) => x + 1e-3, 141, 2 ** 16);
    expect(long.at).toEqual({ ...at, token: 141 });
    expect(long.ratio).toBeGreaterThan(1);
    expect(long.rows).toBe(150 * 16);
    // All rows up to √(2^16/16) = 64, and of 86 more one in ⌈(150² − 64²)·8/2^15⌉ = 5.
    expect(long.bounded).toBe((64 + 18) * 16);
    expect(long.maxAbs).toBeCloseTo(1e-3, 4);
  });

  it("takes NaN for wrong", () => {
    const { ratio, at } = tampered(90, () => NaN, 70);
    expect(ratio).toBeNaN();
    expect(at).toEqual({ layer: 2, head: 2, token: 70 });
  });
});

describe("generate", () => {
  const prompt = encode("Call me ");

  it("counts tokens and steps, emits the text in whole characters", () => {
    const model = load("deterministic");
    const pieces: string[] = [];
    const generation = generate(model, prompt, {
      count: 30,
      sample: createSampler({ temperature: 1, seed: 5 }),
      emit: (text) => pieces.push(text),
    });
    expect(generation).toMatchObject({ promptTokens: 8, steps: 29 });
    expect(generation.tokens.length).toBe(30);
    expect(pieces.join("")).toBe(generation.text);
    expect(model.length).toBe(37);
    // 2 tensors × 4 layers × 37 tokens × 2 heads × 64 × 4 bytes
    expect(model.cacheBytes).toBe(151552);
    expect(generation.prefillSeconds).toBeGreaterThan(0);
    expect(generation.decodeSeconds).toBeGreaterThan(0);
  });

  it("stops at an end token", () => {
    const ending = { ...config, endTokens: [32] };
    const model = LanguageModel.load({ config: ending, weights }, createImplementation("deterministic"));
    const { text, tokens, steps } = generate(model, encode("The whal"), {
      count: 30,
      sample: createSampler(),
    });
    expect(text).toBe("e");
    expect(tokens).toEqual([101]);
    expect(steps).toBe(1);
  });

  it("fits prompt and tokens into the context", () => {
    expect(contextFor(config, 8, 30)).toBe(37);
    expect(contextFor(config, 1024, 1)).toBe(1024);
    expect(() => contextFor(config, 0, 1)).toThrow(
      new RangeError("prompt: expected at least one byte, got none"),
    );
    expect(() => contextFor(config, 1025, 1)).toThrow(
      new RangeError("prompt: expected at most 1024 bytes (max_position_embeddings), got 1025"),
    );
    expect(() => contextFor(config, 1000, 26)).toThrow(
      new RangeError(
        "tokens: expected at most 25 behind a prompt of 1000 bytes (max_position_embeddings 1024), got 26",
      ),
    );
  });
});

describe("a model's door", () => {
  it("refuses what the context cannot hold, and stays usable", () => {
    const model = load("deterministic", 16);
    expect(() => model.prefill(new Uint8Array())).toThrow(
      new RangeError("tokens: expected at least one, got none"),
    );
    expect(() => model.prefill(new Uint8Array(17))).toThrow(
      new RangeError("tokens: expected at most 16 (context 16, 0 read), got 17"),
    );
    model.prefill(new Uint8Array(16));
    expect(() => model.step(65)).toThrow(
      new RangeError("tokens: expected at most 0 (context 16, 16 read), got 1"),
    );
    model.reset();
    expect(() => model.step(256)).toThrow(
      new RangeError("token: expected an integer from 0 to 255, got 256"),
    );
    expect(model.step(65).length).toBe(256);
    expect(() => load("deterministic", 1025)).toThrow(
      new RangeError("maxTokens: expected an integer from 1 to 1024 (max_position_embeddings), got 1025"),
    );
  });

  it("is shut by close, twice if need be", () => {
    const model = load("reference", 16);
    model.close();
    model.close();
    expect(() => model.step(65)).toThrow(new TypeError("model: expected an open model, got a closed one"));
  });

  it("survives running out of memory", () => {
    const implementation = wasmImplementation(instantiate(deterministic, 16 * 2 ** 20));
    const model = LanguageModel.load({ config, weights }, implementation);
    const text = heldOut.subarray(0, 1024);
    model.prefill(text.subarray(0, 20));
    expect(() => model.prefill(text.subarray(20))).toThrow(/^memory: needed \d+ bytes/);
    expect(model.length).toBe(20);
    const whole = load("deterministic");
    expect(model.prefill(text.subarray(20, 60))).toEqual(whole.prefill(text.subarray(0, 60)));
  });
});
