/**
 * The ONNX node tests: every output of every file within the bound derived for it, and the bounds far enough below
 * what ONNX itself allows that a wrong answer is seen.
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { BYTES } from "../src/dtype.ts";
import type { FileTensor } from "../src/io/tensor.ts";
import { readSafetensors } from "../src/io/safetensors.ts";
import { compareOnnxCase, isOnnxCase, type Metadata, runOnnxCase } from "../src/onnx/index.ts";
import { attention, attentionTiled } from "../src/reference/index.ts";
import { fromFloat64, toFloat64, view } from "../src/tensor.ts";
import { expectThrow } from "./support/throws.ts";

const folder = new URL("vectors/onnx/", import.meta.url);

interface File {
  readonly name: string;
  readonly metadata: Metadata;
  readonly tensors: Map<string, FileTensor>;
}

const files: File[] = readdirSync(folder).filter((name) => name.endsWith(".safetensors")).map((name) => ({
  name: name.replace(".safetensors", ""),
  ...readSafetensors(readFileSync(new URL(name, folder)), { name }),
}));

function file(name: string): File {
  return files.find((one) => one.name === name)!;
}

const values = (tensor: FileTensor) => toFloat64(view("tensor", tensor));

/** Names of the outputs that leave their bound. */
function wrong({ metadata, tensors }: Pick<File, "metadata" | "tensors">): string[] {
  return compareOnnxCase(metadata, tensors)
    .filter(({ got, expected, bound }) =>
      values(expected).some((y, n) =>
        !(Object.is(y, got[n]) || y === got[n] || Math.abs(y - got[n]) <= bound[n])
      )
    )
    .map(({ name }) => name);
}

/** The file with one of its metadata replaced, or gone. */
function altered({ metadata, ...rest }: File, changes: Record<string, string | undefined>): File {
  const changed = { ...metadata, attributes: "[]", ...changes };
  return {
    ...rest,
    metadata: Object.fromEntries(Object.entries(changed).filter(([, x]) => x !== undefined)) as Metadata,
  };
}

describe("ONNX node tests", () => {
  it("are 105", () => {
    expect(files.length).toBe(105);
    expect(files.every(({ metadata }) => isOnnxCase(metadata))).toBe(true);
  });

  it.each(files)("$name", ({ metadata, tensors }) => {
    const outputs = (JSON.parse(metadata["outputs"]) as string[]).filter((name) => name !== "");
    expect(compareOnnxCase(metadata, tensors).map(({ name }) => name)).toEqual(outputs);
    expect(wrong({ metadata, tensors })).toEqual([]);
  });

  it("take less than 2 s together", () => {
    const start = performance.now();
    for (const { metadata, tensors } of files) compareOnnxCase(metadata, tensors);
    expect(performance.now() - start).toBeLessThan(2000);
  });

  it("run by another implementation too", () => {
    let calls = 0;
    for (const { name, metadata, tensors } of files) {
      const found = compareOnnxCase(metadata, tensors, (q, k, v, options) => {
        calls++;
        return attentionTiled(q, k, v, options, { Br: 2, Bc: 3 });
      });
      for (const { got, bound, name: output, problem } of found) {
        const same = compareOnnxCase(metadata, tensors).find((one) => one.name === output)!;
        expect(bound, name).toEqual(same.bound);
        if (problem === null) continue;
        // Rescaling a few times in float64 stays far below any bound here, which start at float32's unit.
        const most = same.got.reduce((a, b) => Math.max(a, Math.abs(b)), 1);
        got.forEach((x, n) => expect(Math.abs(x - same.got[n]), name).toBeLessThanOrEqual(2 ** -45 * most));
      }
    }
    expect(calls).toBe(78);
  });

  it("give outputs in the dtype of the node", () => {
    for (const { name, metadata, tensors } of files) {
      for (const [output, { data, shape, dtype }] of runOnnxCase(metadata, tensors)) {
        const expected = tensors.get(output)!;
        expect([dtype, shape, data.byteLength], name).toEqual([
          expected.dtype,
          expected.shape,
          expected.data.length * BYTES[expected.dtype],
        ]);
        // float64 answers rounded once are ONNX's own to the bit where that was made in float64 as well.
        if (metadata["op"] === "Attention" && dtype === "float16") expect(data, name).toEqual(expected.data);
      }
    }
  });
});

describe("bounds of expectations", () => {
  const compared = files.flatMap(({ name, metadata, tensors }) =>
    compareOnnxCase(metadata, tensors).map((one) => ({ ...one, file: name, op: metadata["op"] }))
  );

  /** The largest bound in units of what ONNX's rtol and atol allow. */
  function share(some: typeof compared): number {
    let most = 0;
    for (const { expected, bound } of some) {
      values(expected).forEach((y, n) => {
        if (bound[n] > 0) most = Math.max(most, bound[n] / (1e-7 + 1e-3 * Math.abs(y)));
      });
    }
    return most;
  }

  const inFloat32 = compared.filter(({ expected }) => expected.dtype === "float32");

  it("in float32: 1/150 of what ONNX allows, or less", () => {
    expect(share(inFloat32.filter(({ op }) => op !== "RotaryEmbedding"))).toBeLessThan(1 / 150);
    // y = cx₁ − sx₂ near 0, where only the atol of 10⁻⁷ is left.
    expect(share(inFloat32.filter(({ op }) => op === "RotaryEmbedding"))).toBeLessThan(1 / 10);
  });

  it("in float16: half a unit in the last place where ONNX computed in float64", () => {
    const halves = compared.filter(({ expected, op }) => expected.dtype === "float16" && op === "Attention");
    expect(halves.length).toBeGreaterThan(5);
    expect(share(halves)).toBeLessThan(1 / 2);
  });

  it("in float64: 10⁻¹⁰ of what ONNX allows, or less", () => {
    expect(share(compared.filter(({ expected }) => expected.dtype === "float64"))).toBeLessThan(1e-10);
  });

  it("are zero for what is copied", () => {
    const copies = compared.filter(({ name }) => name.startsWith("present_"));
    expect(copies.length).toBeGreaterThan(20);
    for (const { bound } of copies) expect(bound.every((x) => x === 0)).toBe(true);
  });

  it.each(files)("$name: off by what ONNX allows is wrong", ({ metadata, tensors }) => {
    for (const name of (JSON.parse(metadata["outputs"]) as string[]).filter((one) => one !== "")) {
      const expected = tensors.get(name)!;
      const y = values(expected);
      const n = y.findIndex((x) => Number.isFinite(x) && x !== 0);
      if (n < 0) continue;
      y[n] += 1.5e-3 * Math.abs(y[n]) + 1.5e-7;
      const off = { ...expected, data: fromFloat64(y, expected.dtype) };
      // FlexAttention in float16 rounds the scores to float16, which costs more than that.
      if (expected.dtype === "float16" && metadata["op"] === "FlexAttention") continue;
      expect(wrong({ metadata, tensors: new Map([...tensors, [name, off]]) })).toContain(name);
    }
  });
});

describe("what a file says counts", () => {
  /** Attributes whose absence means the same in that file. */
  const DEFAULTS = new Set([
    "test_attention_local_window_default left_window_size",
    "test_attention_local_window_default right_window_size",
    "test_logsoftmax_axis_2 axis",
    "test_logsoftmax_negative_axis axis",
    "test_softmax_axis_2 axis",
    "test_softmax_negative_axis axis",
    // Its single query sees every key that nonpad_kv_seqlen leaves.
    "test_attention_4d_gqa_causal_nonpad_decode is_causal",
    "test_attention_4d_gqa_causal_nonpad_decode_fp16 is_causal",
    // Its mask leaves one key, the first.
    "test_attention_causal_boolmask_nan_robustness is_causal",
    // All its values are 1.
    "test_attention_local_window_ext_cache_float16_mask is_causal",
    "test_attention_local_window_ext_cache_float16_mask left_window_size",
    // A constant added to all scores cancels.
    "test_flexattention_score_mod score_mod",
  ]);
  const attributes = files.flatMap((one) =>
    (JSON.parse(one.metadata["attributes"] ?? "[]") as string[]).map((name) => ({ one, name }))
  );

  it.each(attributes)("$one.name without $name", ({ one, name }) => {
    const without = altered(one, { [name]: undefined });
    if (name === "softmax_precision" || DEFAULTS.has(`${one.name} ${name}`)) {
      expect(wrong(without)).toEqual([]);
    } else {
      let found: string[] | Error;
      try {
        found = wrong(without);
      } catch (error) {
        found = error as Error;
      }
      expect(found).not.toEqual([]);
    }
  });

  it("mod_hint doesn't", () => {
    const one = file("test_flexattention_soft_cap");
    expect(wrong(altered(one, { mod_hint: "score_mod: 0" }))).toEqual([]);
    const graph = one.metadata["score_mod"].replace('"data":[20.0]', '"data":[0.5]');
    expect(graph).not.toBe(one.metadata["score_mod"]);
    expect(wrong(altered(one, { score_mod: graph }))).toEqual(["Y"]);
  });

  it("a mask more or less does", () => {
    const one = file("test_attention_4d_attn_mask_bool");
    const mask = one.tensors.get("attn_mask")!;
    const data = Uint8Array.from(mask.data as Uint8Array);
    data[0] = 1 - data[0];
    expect(wrong({ ...one, tensors: new Map([...one.tensors, ["attn_mask", { ...mask, data }]]) })).toEqual([
      "Y",
    ]);
  });
});

describe("strictness", () => {
  const one = file("test_attention_4d_causal_with_past_and_present");
  const run = (changes: Record<string, string | undefined>, tensors = one.tensors) => () =>
    compareOnnxCase(altered(one, changes).metadata, tensors);

  it("names what it doesn't know", () => {
    expectThrow(run({ dropout_p: "0.5" }), TypeError, "dropout_p: no such attribute of Attention");
    expectThrow(
      run({}, new Map([...one.tensors, ["sink", one.tensors.get("Q")!]])),
      TypeError,
      "sink: no such tensor of this node",
    );
    expectThrow(
      run({ op: "SparseAttention" }),
      RangeError,
      'op: expected one of Attention, RotaryEmbedding, Softmax, LogSoftmax, FlexAttention, got "SparseAttention"',
    );
    expectThrow(
      run({ domain: "com.microsoft" }),
      RangeError,
      'domain: expected "" for Attention, got "com.microsoft"',
    );
  });

  it("ignores information only", () => {
    expect(run({ x_mine: "1", note: "a note", rtol: "0", source: "", case: "", license: "" })().length).toBe(
      3,
    );
  });

  it("names what is missing or malformed", () => {
    const without = new Map(one.tensors);
    without.delete("past_key");
    expectThrow(run({}, without), TypeError, "past_key: expected a tensor, got none");
    expectThrow(run({ is_causal: "yes" }), RangeError, 'is_causal: expected a number, got "yes"');
    expectThrow(run({ is_causal: "2" }), RangeError, "is_causal: expected 0 or 1, got 2");
    expectThrow(run({ is_causal: "0.5" }), RangeError, "is_causal: expected an integer, got 0.5");
    expectThrow(run({ scale: "1e999" }), RangeError, 'scale: expected a number, got "1e999"');
    expectThrow(run({ inputs: "[" }), SyntaxError, "inputs: expected JSON, got [");
    expectThrow(run({ inputs: '{"Q":1}' }), TypeError, "inputs: expected a JSON list of names, got Object");
    expectThrow(
      run({ inputs: '["Q","K","Q"]' }),
      RangeError,
      "inputs: expected each name once, got Q twice",
    );
    expectThrow(
      run({ outputs: '["Y","a","b","c","d"]' }),
      RangeError,
      "outputs: expected at most 4 (Y, present_key, present_value, qk_matmul_output), got 5",
    );
    expectThrow(run({ attributes: '["scale"]' }), TypeError, 'attributes: expected a value for "scale"');
    expectThrow(run({ opset: "22" }), RangeError, "opset: expected an integer ≥ 23 for Attention, got 22");
    const inputsOnly = new Map(
      [...one.tensors].filter(([name]) => !["Y", "present_key", "present_value"].includes(name)),
    );
    expectThrow(
      run({}, inputsOnly),
      RangeError,
      "outputs: expected a tensor for one of Y,present_key,present_value",
    );
  });

  it("wants the dtype and shape that the node gives", () => {
    const Y = one.tensors.get("Y")!;
    expectThrow(
      run({}, new Map([...one.tensors, ["Y", { ...Y, shape: [2, 3, 8, 4] }]])),
      RangeError,
      "Y: expected float32 [2,3,8,4], got float32 [2,3,4,8]",
    );
    expectThrow(
      run({}, new Map([...one.tensors, ["Y", { ...Y, dtype: "float64", data: new Float64Array(192) }]])),
      RangeError,
      "Y: expected float64 [2,3,4,8], got float32 [2,3,4,8]",
    );
  });

  it("runs without expectations", () => {
    const inputsOnly = new Map([...one.tensors].filter(([name]) => name !== "Y"));
    expect([...runOnnxCase(one.metadata, inputsOnly, attention).keys()]).toEqual([
      "Y",
      "present_key",
      "present_value",
    ]);
  });
});
