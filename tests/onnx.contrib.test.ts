/**
 * onnxruntime's GroupQueryAttention and MultiHeadAttention: against what onnxruntime itself computes
 * (tests/onnxruntime), within the bound of a float32 evaluation, and against their formulas written out once more.
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { FileTensor } from "../src/io/tensor.ts";
import { readSafetensors } from "../src/io/safetensors.ts";
import { others } from "../src/onnx/evaluations.ts";
import { type AttentionFunction, groupQueryAttention, multiHeadAttention } from "../src/onnx/index.ts";
import { outputSteps, scoreSteps, softmaxSteps, toBnhd } from "../src/onnx/steps.ts";
import { createProblem, type Problem } from "../src/problem.ts";
import { attention } from "../src/reference/index.ts";
import { sizeOf, type Tensor, type TensorInput, toFloat64, view } from "../src/tensor.ts";
import { Random } from "./support/random.ts";
import { expectThrow } from "./support/throws.ts";

const random = new Random(3);
const uniform = () => random.next() / 2 ** 31 - 1;

function tensor(...shape: number[]): Tensor<Float64Array> {
  return { data: Float64Array.from({ length: sizeOf(shape) }, uniform), shape, dtype: "float64" };
}

const int32 = (shape: number[], ...data: number[]) => ({ data: Int32Array.from(data), shape });
const list = (x: TensorInput) => Array.from(toFloat64(view("x", x)));

const folder = new URL("onnxruntime/", import.meta.url);
const files = readdirSync(folder).filter((name) => name.endsWith(".safetensors"));

type Operator = (
  inputs: never,
  attributes: never,
  options: { implementation: AttentionFunction },
) => Record<string, Tensor>;
const OPERATORS: Record<string, Operator> = {
  GroupQueryAttention: groupQueryAttention as never,
  MultiHeadAttention: multiHeadAttention as never,
};

/** Bounds of |float32 evaluation − exact| for the attention that a node comes down to, in the order of its output. */
function bounds(problem: Problem): Float64Array {
  const [evaluation] = others(null, "float32", "dtype");
  const x = scoreSteps(problem, evaluation.scores, "biased");
  const O = outputSteps(problem, softmaxSteps(problem, x, evaluation), evaluation);
  const { lo, hi } = toBnhd(O);
  return lo.map((low, n) => hi[n] - low);
}

describe("as onnxruntime", () => {
  it("in 32 cases", () => expect(files.length).toBe(32));

  it.each(files)("%s", (name) => {
    const { metadata, tensors } = readSafetensors(readFileSync(new URL(name, folder)), { name });
    const inputs: Record<string, FileTensor> = {};
    const expected: Record<string, FileTensor> = {};
    for (const [key, value] of tensors) {
      if (key.startsWith("out_")) expected[key.slice(4)] = value;
      else inputs[key] = value;
    }
    let bound: Float64Array = new Float64Array(0);
    const implementation: AttentionFunction = (q, k, v, options = {}) => {
      bound = bounds(createProblem(q, k, v, options));
      return attention(q, k, v, options);
    };
    const attributes = JSON.parse(metadata["attributes"]);
    const results = OPERATORS[metadata["op"]](inputs as never, attributes as never, { implementation });
    // A rotation errs by 3u of √2 times the pair, in q and k: 8.5u beside the (4 + D)u, D ≥ 16, that are counted.
    const rotated = attributes["do_rotary"] === 1;
    for (const [output, tensor] of Object.entries(expected)) {
      expect(results[output].shape, output).toEqual(tensor.shape);
      const got = list(results[output]);
      list(tensor).forEach((y, n) => {
        const most = output === "output"
          ? bound[n] * (rotated ? 2 : 1)
          : rotated
          ? 2 ** -22 * 4
          : 2 ** -23 * Math.abs(y);
        expect(Math.abs(y - got[n]), `${output}[${n}] ${y} ${got[n]}`).toBeLessThanOrEqual(most);
      });
    }
  });

  it("bounds that a wrong answer leaves", () => {
    const name = "group_window.safetensors";
    const { tensors } = readSafetensors(readFileSync(new URL(name, folder)), { name });
    const inputs = Object.fromEntries([...tensors].filter(([key]) => !key.startsWith("out_")));
    let bound: Float64Array = new Float64Array(0);
    const implementation: AttentionFunction = (q, k, v, options = {}) => {
      bound = bounds(createProblem(q, k, v, options));
      return attention(q, k, v, options);
    };
    const attributes = { num_heads: 4, kv_num_heads: 2, local_window_size: 3 };
    const { output } = groupQueryAttention(inputs as never, attributes, { implementation });
    const wanted = list(tensors.get("out_output")!);
    expect(list(output).some((x, n) => Math.abs(x - wanted[n]) > 1000 * bound[n])).toBe(true);
  });
});

describe("GroupQueryAttention", () => {
  const lengths = (...keys: number[]) => ({
    seqlens_k: int32([keys.length], ...keys.map((n) => n - 1)),
    total_sequence_length: int32([], Math.max(...keys)),
  });
  const heads = { num_heads: 2, kv_num_heads: 1 };
  const prompt = { query: tensor(2, 3, 8), key: tensor(2, 3, 4), value: tensor(2, 3, 4), ...lengths(3, 3) };

  it("smooth_softmax adds 1 to the denominator, which is a sink of 0", () => {
    const plain = list(groupQueryAttention(prompt, heads).output);
    const smooth = list(groupQueryAttention(prompt, { ...heads, smooth_softmax: 1 }).output);
    const head_sink = { data: new Float64Array(2), shape: [2] };
    expect(list(groupQueryAttention({ ...prompt, head_sink }, heads).output)).toEqual(smooth);
    // The first query sees its own key alone: e^x/(e^x + 1) of it.
    const [q, k, v] = [list(prompt.query), list(prompt.key), list(prompt.value)];
    for (let h = 0; h < 2; h++) {
      let x = 0;
      for (let d = 0; d < 4; d++) x += q[h * 4 + d] * k[d] / 2;
      for (let d = 0; d < 4; d++) {
        expect(plain[h * 4 + d]).toBe(v[d]);
        expect(Math.abs(smooth[h * 4 + d] - v[d] / (1 + Math.exp(-x)))).toBeLessThan(2 ** -50);
      }
    }
  });

  it("goes on where the past ends, packed or not, and keeps what the past kept", () => {
    const whole = groupQueryAttention(prompt, heads);
    const rows = (x: Tensor<Float64Array>, from: number, to: number): Tensor => {
      const [B, S, W] = x.shape;
      const parts = Array.from(
        { length: B },
        (_, b) => Array.from(x.data.subarray((b * S + from) * W, (b * S + to) * W)),
      );
      return { data: Float64Array.from(parts.flat()), shape: [B, to - from, W], dtype: "float64" };
    };
    const two = groupQueryAttention({
      query: rows(prompt.query, 0, 2),
      key: rows(prompt.key, 0, 2),
      value: rows(prompt.value, 0, 2),
      ...lengths(2, 2),
    }, heads);
    const [query, key, value] = [prompt.query, prompt.key, prompt.value].map((x) => rows(x, 2, 3));
    const past = { past_key: two.present_key, past_value: two.present_value };
    const third = groupQueryAttention({ query, key, value, ...past, ...lengths(3, 3) }, heads);
    expect(list(third.output)).toEqual([
      ...list(whole.output).slice(16, 24),
      ...list(whole.output).slice(40, 48),
    ]);
    expect([third.present_key, third.present_value]).toEqual([whole.present_key, whole.present_value]);

    const packed = { data: new Float64Array(2 * 16), shape: [2, 1, 16] };
    for (let b = 0; b < 2; b++) {
      const row = [query, key, value].flatMap((x) => list(x).slice(b * x.shape[2], (b + 1) * x.shape[2]));
      packed.data.set(row, b * 16);
    }
    expect(groupQueryAttention({ query: packed, ...past, ...lengths(3, 3) }, heads)).toEqual(third);
  });

  it("leaves keys beyond the length of a batch alone, in a buffer that is longer", () => {
    const past = { past_key: tensor(2, 1, 6, 4), past_value: tensor(2, 1, 6, 4) };
    const step = { query: tensor(2, 1, 8), key: tensor(2, 1, 4), value: tensor(2, 1, 4) };
    const { output, present_key } = groupQueryAttention({ ...step, ...past, ...lengths(4, 2) }, heads);
    expect(present_key.shape).toEqual([2, 1, 6, 4]);
    expect(list(present_key).slice(12, 24)).toEqual([...list(step.key).slice(0, 4), ...new Array(8).fill(0)]);
    const spoilt = Float64Array.from(past.past_value.data, (x, n) => n % 24 >= (n < 24 ? 12 : 4) ? NaN : x);
    const again = groupQueryAttention({
      ...step,
      ...past,
      past_value: { data: spoilt, shape: [2, 1, 6, 4] },
      ...lengths(4, 2),
    }, heads);
    expect(list(again.output)).toEqual(list(output));
  });

  it("is bidirectional on demand, and takes positions", () => {
    const open = list(groupQueryAttention(prompt, { ...heads, causal: 0 }).output);
    const causal = list(groupQueryAttention(prompt, heads).output);
    expect(open.slice(16, 24)).toEqual(causal.slice(16, 24));
    expect(open.slice(0, 8)).not.toEqual(causal.slice(0, 8));

    const rotary = { cos_cache: tensor(9, 2), sin_cache: tensor(9, 2) };
    const turned = { ...heads, do_rotary: 1 };
    const own = groupQueryAttention({ ...prompt, ...rotary }, turned);
    const ids = (...p: number[]) => ({ data: BigInt64Array.from([...p, ...p], BigInt), shape: [2, 3] });
    expect(groupQueryAttention({ ...prompt, ...rotary, position_ids: ids(0, 1, 2) }, turned)).toEqual(own);
    expect(groupQueryAttention({ ...prompt, ...rotary, position_ids: ids(3, 4, 8) }, turned)).not.toEqual(
      own,
    );
    expect(list(own.present_value)).toEqual(list(groupQueryAttention(prompt, heads).present_value));
  });

  type Case = [string, typeof TypeError | typeof RangeError, object, object];
  const cases: Case[] = [
    ["num_heads: expected a count ≥ 1, got 0", RangeError, {}, { num_heads: 0 }],
    ["kv_num_heads: expected a divisor of num_heads = 3, got 2", RangeError, {}, {
      num_heads: 3,
      kv_num_heads: 2,
    }],
    ["query: expected a width that 2 heads divide, got [2,3,7]", RangeError, { query: tensor(2, 3, 7) }, {}],
    ["value: expected a tensor with key, got none", TypeError, { value: undefined }, {}],
    ["value: expected [B,S,G·D] = [2,3,4], got [2,3,5]", RangeError, { value: tensor(2, 3, 5) }, {}],
    ["seqlens_k: expected a tensor, got none", TypeError, { seqlens_k: undefined }, {}],
    ["seqlens_k: expected [B] = [2], got [1]", RangeError, { seqlens_k: int32([1], 2) }, {}],
    ["seqlens_k[1]: expected an integer from 0 to 2, got 3", RangeError, { seqlens_k: int32([2], 2, 3) }, {}],
    ["total_sequence_length: expected at least S=3, got 2", RangeError, {
      total_sequence_length: int32([], 2),
    }, {}],
    ["total_sequence_length: expected one number, got [2]", RangeError, {
      total_sequence_length: int32([2], 3, 3),
    }, {}],
    ["past_key: expected a tensor for total_sequence_length = 5, got none", TypeError, lengths(5, 4), {}],
    [
      "past_value: expected a tensor with past_key, got none",
      TypeError,
      { past_key: tensor(2, 1, 4, 4) },
      {},
    ],
    ["past_key: expected [B,G,length,D] = [2,1,_,4], got [2,2,4,4]", RangeError, {
      past_key: tensor(2, 2, 4, 4),
      past_value: tensor(2, 1, 4, 4),
    }, {}],
    ["past_key: expected at least 2 keys, got [2,1,1,4]", RangeError, {
      past_key: tensor(2, 1, 1, 4),
      past_value: tensor(2, 1, 1, 4),
      ...lengths(5, 4),
    }, {}],
    ["cos_cache: expected a tensor with do_rotary, got none", TypeError, {}, { do_rotary: 1 }],
    ["cos_cache: expected at least 3 positions, got [2,2]", RangeError, {
      cos_cache: tensor(2, 2),
      sin_cache: tensor(2, 2),
    }, { do_rotary: 1 }],
    ["cos_cache: expected at most D/2 = 2 columns, got [3,3]", RangeError, {
      cos_cache: tensor(3, 3),
      sin_cache: tensor(3, 3),
    }, { do_rotary: 1 }],
    ["attention_bias: expected [B,H,S,total] = [2,2,3,3], got [3,2,3,3]", RangeError, {
      attention_bias: tensor(3, 2, 3, 3),
    }, {}],
    ["head_sink: expected [H] = [2], got [1]", RangeError, { head_sink: tensor(1) }, {}],
    ["local_window_size: expected −1 or a size ≥ 1, got 0", RangeError, {}, { local_window_size: 0 }],
    ["local_window_size: expected −1 without causal, got 2", RangeError, {}, {
      local_window_size: 2,
      causal: 0,
    }],
    ["causal: expected 0 or 1, got 2", RangeError, {}, { causal: 2 }],
  ];
  it.each(cases)("%s", (message, Class, inputs, attributes) => {
    const all = { ...prompt, ...inputs };
    expectThrow(() => groupQueryAttention(all, { ...heads, ...attributes }), Class, message);
  });
});

describe("MultiHeadAttention", () => {
  const inputs = { query: tensor(2, 3, 8), key: tensor(2, 4, 8), value: tensor(2, 4, 6) };
  const heads = { num_heads: 2 };

  it("a mask adds a finite number: a row that is masked whole is as without a mask", () => {
    const plain = list(multiHeadAttention(inputs, heads).output);
    const key_padding_mask = int32([2, 4], 0, 0, 0, 0, 1, 1, 0, 1);
    const masked = list(multiHeadAttention({ ...inputs, key_padding_mask }, heads).output);
    // x − 10000 keeps 40 bits of x.
    for (let n = 0; n < 18; n++) expect(Math.abs(masked[n] - plain[n])).toBeLessThan(2 ** -38);
    expect(masked.slice(18)).not.toEqual(plain.slice(18));
    // e^f of the masked weight remains.
    const weak = list(
      multiHeadAttention({ ...inputs, key_padding_mask }, { ...heads, mask_filter_value: 0 }).output,
    );
    expect(weak).toEqual(plain);
  });

  it("takes lengths, lengths in front of offsets, and rows of a mask", () => {
    const wanted = multiHeadAttention(
      { ...inputs, key_padding_mask: int32([2, 4], 1, 1, 0, 0, 1, 1, 1, 0) },
      heads,
    );
    expect(multiHeadAttention({ ...inputs, key_padding_mask: int32([2], 2, 3) }, heads)).toEqual(wanted);
    const offsets = int32([8], 2, 3, 0, 3, 6, 0, 4, 8);
    expect(multiHeadAttention({ ...inputs, key_padding_mask: offsets }, heads)).toEqual(wanted);
    const rows = [...[0, 1, 2].flatMap(() => [1, 1, 0, 0]), ...[0, 1, 2].flatMap(() => [1, 1, 1, 0])];
    expect(multiHeadAttention({ ...inputs, key_padding_mask: int32([2, 3, 4], ...rows) }, heads)).toEqual(
      wanted,
    );
  });

  it("reads packed keys and values, and packed queries", () => {
    const [q, k, v] = [tensor(2, 3, 8), tensor(2, 3, 8), tensor(2, 3, 8)];
    const pack = (...parts: Tensor<Float64Array>[]): TensorInput => {
      const data = new Float64Array(parts.length * 48);
      parts.forEach((part, n) =>
        part.data.forEach((x, at) => data[(Math.floor(at / 4) * parts.length + n) * 4 + at % 4] = x)
      );
      return { data, shape: [2, 3, 2, parts.length, 4] };
    };
    const wanted = multiHeadAttention({ query: q, key: k, value: v }, heads);
    expect(multiHeadAttention({ query: q, key: pack(k, v) }, heads)).toEqual(wanted);
    expect(multiHeadAttention({ query: pack(q, k, v) }, heads)).toEqual(wanted);
    const bias = tensor(24);
    expect(multiHeadAttention({ query: pack(q, k, v), bias }, heads))
      .toEqual(multiHeadAttention({ query: q, key: k, value: v, bias }, heads));
  });

  it("is causal but for the last query", () => {
    const open = list(multiHeadAttention(inputs, heads).output);
    const causal = list(multiHeadAttention(inputs, { ...heads, unidirectional: 1 }).output);
    expect(causal.slice(12, 18)).toEqual(open.slice(12, 18));
    // The first query sees the first key.
    expect(causal.slice(0, 6)).toEqual(list(inputs.value).slice(0, 6));
    const one = { ...inputs, query: tensor(2, 1, 8) };
    expect(multiHeadAttention(one, { ...heads, unidirectional: 1 })).toEqual(multiHeadAttention(one, heads));
  });

  type Case = [string, typeof TypeError | typeof RangeError, object, object];
  const cases: Case[] = [
    ["num_heads: expected a count ≥ 1, got 0", RangeError, {}, { num_heads: 0 }],
    [
      "query: expected [B,S,H·D] or [B,S,H,3,D] = [_,_,_], got [2,3]",
      RangeError,
      { query: tensor(2, 3) },
      {},
    ],
    ["query: expected [B,S,H,3,D] = [_,_,2,3,_], got [2,3,2,2,4]", RangeError, {
      query: tensor(2, 3, 2, 2, 4),
    }, {}],
    ["key: expected none with a packed query, got one", TypeError, { query: tensor(2, 3, 2, 3, 4) }, {}],
    ["key: expected a tensor unless query is [B,S,H,3,D], got none", TypeError, { key: undefined }, {}],
    ["key: expected [B,L,H·D] = [2,_,8], got [2,4,6]", RangeError, { key: tensor(2, 4, 6) }, {}],
    ["value: expected a tensor with key, got none", TypeError, { value: undefined }, {}],
    ["value: expected [B,L,H·E] = [2,4,_], got [2,5,6]", RangeError, { value: tensor(2, 5, 6) }, {}],
    ["value: expected none with a packed key, got one", TypeError, { key: tensor(2, 4, 2, 2, 4) }, {}],
    ["bias: expected [H·D + H·D + H·E] = [22], got [24]", RangeError, { bias: tensor(24) }, {}],
    ["bias: expected none with a key of four axes, got one", TypeError, {
      key: tensor(2, 2, 4, 4),
      value: tensor(2, 2, 4, 3),
      bias: tensor(22),
    }, {}],
    ["key_padding_mask: expected int32, got float64", TypeError, { key_padding_mask: tensor(2) }, {}],
    [
      "key_padding_mask: expected [B], [3B+2], [B,T] or [B,S,T] with B=2, S=3, T=4, got [2,3]",
      RangeError,
      { key_padding_mask: int32([2, 3], 1, 1, 1, 1, 1, 1) },
      {},
    ],
    ["attention_bias: expected [B,H,S,T] = [1,2,3,4], got [1,3,3,4]", RangeError, {
      attention_bias: tensor(1, 3, 3, 4),
    }, {}],
    [
      "past_value: expected a tensor with past_key, got none",
      TypeError,
      { past_key: tensor(2, 2, 1, 4) },
      {},
    ],
    ["past_key: expected [B,H,past,D] = [2,2,_,4], got [2,2,1,3]", RangeError, {
      past_key: tensor(2, 2, 1, 3),
      past_value: tensor(2, 2, 1, 3),
    }, {}],
    ["unidirectional: expected 0 or 1, got 3", RangeError, {}, { unidirectional: 3 }],
    [
      "cache_indirection: no such input of MultiHeadAttention; there are query, key, value, bias, key_padding_mask, " +
      "attention_bias, past_key, past_value",
      TypeError,
      { cache_indirection: tensor(1) },
      {},
    ],
  ];
  it.each(cases)("%s", (message, Class, more, attributes) => {
    const all = { ...inputs, ...more };
    expectThrow(() => multiHeadAttention(all as never, { ...heads, ...attributes }), Class, message);
  });
});
