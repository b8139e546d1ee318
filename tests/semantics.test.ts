/** Each switch of src/semantics.ts by what it does to numbers small enough to work out, and the presets' page. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { attention, type AttentionOptions, presets, type SemanticsName } from "../src/reference/index.ts";
import * as semantics from "../src/semantics.ts";
import { sample } from "./suites/cases.ts";
import { formula } from "./support/formula.ts";
import { type Made, normal } from "./support/tensors.ts";
import { expectThrow } from "./support/throws.ts";
// @ts-expect-error a tool in JavaScript
import { semanticsPage } from "../tools/docs-semantics.js";

/** Queries of zeros make all scores 0: O is the mean of the values a row may see, and V = 2^j tells which. */
function seen(N: number, M: number, options: AttentionOptions): number[][] {
  const q = normal(0, [1, 1, N, 2], 0);
  const k = normal(1, [1, 1, M, 2]);
  const v = { data: Float64Array.from({ length: M }, (_, j) => 2 ** j), shape: [1, 1, M, 1] };
  const { probabilities } = attention(q, k, v, { ...options, probabilities: true });
  const P = probabilities!.data as Float64Array;
  return Array.from({ length: N }, (_, i) => {
    const row = P.slice(i * M, i * M + M);
    return Array.from(row.keys()).filter((j) => row[j] !== 0);
  });
}

const [q, k, v] = sample([1, 1, 1, 2, 3, 4, 2], 1);
const numbers = (
  name: SemanticsName | undefined,
  options: AttentionOptions = {},
  [a, b, c]: Made[] = [q, k, v],
) => {
  const result = attention(a, b, c, { ...(name && { semantics: name }), ...options, lse: true });
  return { out: result.out.data as Float64Array, lse: result.lse!.data as Float64Array };
};
const nothing: AttentionOptions = {
  mask: { data: new Uint8Array([0, 0, 0, 1, 1, 1]), shape: [2, 3], dtype: "bool" },
};

describe("align", () => {
  it("top-left in sdpa, ONNX, onnxruntime and jax-js; bottom-right elsewhere; an option beats both", () => {
    for (const [name, preset] of Object.entries(presets)) {
      const want = preset.align === "bottom-right" ? [[0, 1], [0, 1, 2]] : [[0], [0, 1]];
      expect(seen(2, 3, { causal: true, semantics: name as SemanticsName }), name).toEqual(want);
      expect(seen(2, 3, { causal: true, semantics: name as SemanticsName, align: { offset: -1 } })).toEqual(
        [[], [0]].map(
          (row) => row.length === 0 && preset.emptyRow !== "zero" ? [0, 1, 2] : row,
        ),
      );
    }
    expect(seen(2, 3, { causal: true })).toEqual([[0, 1], [0, 1, 2]]);
  });

  it("moves to the last valid key with keyLengths: always if bottom-right, and since ONNX 24", () => {
    const options = (name: SemanticsName) => ({ causal: true, keyLengths: [4], semantics: name });
    expect(seen(2, 6, options("flashAttention2"))).toEqual([[0, 1, 2], [0, 1, 2, 3]]);
    expect(seen(2, 6, options("onnx23"))).toEqual([[0], [0, 1]]);
    expect(seen(2, 6, options("onnx24"))).toEqual([[0, 1, 2], [0, 1, 2, 3]]);
    expect(seen(2, 6, options("onnx25"))).toEqual([[0, 1, 2], [0, 1, 2, 3]]);
    // More queries than keys: the first see nothing.
    expect(seen(3, 6, { ...options("onnx24"), keyLengths: [2] })).toEqual([[], [0], [0, 1]]);
  });
});

describe("singleQuery", () => {
  it("a single causal query sees key 0 from the top left, and everything where causal is dropped", () => {
    expect(seen(1, 4, { causal: true, semantics: "sdpa" })).toEqual([[0]]);
    expect(seen(1, 4, { causal: true, semantics: "ortCpu" })).toEqual([[0, 1, 2, 3]]);
    expect(seen(2, 4, { causal: true, semantics: "ortCpu" })).toEqual([[0], [0, 1]]);
    expect(seen(1, 4, { window: [0, 0], semantics: "ortCpu" })).toEqual([[0]]);
  });
});

describe("emptyRow", () => {
  it("zero, NaN, or the mean of V", () => {
    const rows = Object.fromEntries(
      Object.keys(presets).map((
        name,
      ) => [name, Array.from(numbers(name as SemanticsName, nothing).out.slice(0, 2))]),
    );
    const mean = [0, 1].map((e) => (v.data[e] * (1 / 3) + v.data[e + 2] * (1 / 3)) + v.data[e + 4] * (1 / 3));
    for (const [name, row] of Object.entries(rows)) {
      expect(row, name).toEqual(name === "jaxJs" ? [NaN, NaN] : name === "ortCpu" ? mean : [0, 0]);
    }
    expect(Array.from(numbers(undefined, nothing).out.slice(0, 2))).toEqual([0, 0]);
  });

  it("the other rows stay as they are", () => {
    for (const name of ["jaxJs", "ortCpu"] as const) {
      expect(numbers(name, nothing).out.slice(2)).toEqual(numbers(undefined, nothing).out.slice(2));
    }
  });

  it("a sink is something to see: then O is 0 in all of them", () => {
    for (const name of Object.keys(presets) as SemanticsName[]) {
      expect(Array.from(numbers(name, { ...nothing, sink: [0] }).out.slice(0, 2)), name).toEqual([0, 0]);
    }
  });

  it("the mean is over all keys, those behind the key length too, and P says so", () => {
    const options: AttentionOptions = { semantics: "ortCpu", keyLengths: [0], probabilities: true };
    const { probabilities, out } = attention(q, k, v, options);
    expect(Array.from(probabilities!.data, Number)).toEqual(new Array(6).fill(1 / 3));
    expect(out.data).toEqual(attention(q, k, v, { semantics: "ortCpu", scale: 1e-300 }).out.data);
  });

  it("no keys at all: nothing to take the mean of", () => {
    const [a, b, c] = sample([1, 1, 1, 1, 0, 4, 2], 1);
    expect(Array.from(numbers("ortCpu", {}, [a, b, c]).out)).toEqual([0, 0]);
    expect(Array.from(numbers("jaxJs", {}, [a, b, c]).out)).toEqual([NaN, NaN]);
  });
});

describe("lse", () => {
  it("of nothing is +∞ in flash-attention 2, −∞ elsewhere", () => {
    for (const name of Object.keys(presets) as SemanticsName[]) {
      expect(numbers(name, nothing).lse[0], name).toBe(name === "flashAttention2" ? Infinity : -Infinity);
    }
    const cu = { q: [0, 1], k: [0, 0] };
    const packed = (name: SemanticsName) =>
      attention(
        normal(1, [2, 1, 4]),
        normal(2, [0, 1, 4]),
        normal(3, [0, 1, 4]),
        { layout: "thd", cuSeqlens: cu, semantics: name, lse: true },
      ).lse!.data;
    expect(packed("flashAttention2")).toEqual(Float64Array.of(Infinity, Infinity));
    expect(packed("flashAttention4")).toEqual(Float64Array.of(-Infinity, -Infinity));
  });

  it("is in units of ln 2 in FlashInfer", () => {
    const natural = numbers(undefined).lse;
    const base2 = numbers("flashInfer").lse;
    // one more product: 2^−53 of it, and the rounding of log2 e
    for (let i = 0; i < 2; i++) {
      expect(Math.abs(base2[i] - natural[i] / Math.LN2)).toBeLessThanOrEqual(
        4 * 2 ** -53 * Math.abs(base2[i]),
      );
    }
  });

  it("counts the sink unless told otherwise; out does in any case", () => {
    const sink = [0.7];
    const counted = numbers(undefined, { sink });
    const left = numbers(undefined, { sink, semantics: { lseIncludesSink: false } });
    const plain = numbers(undefined);
    expect(left.out).toEqual(counted.out);
    expect(left.lse).toEqual(plain.lse);
    for (let i = 0; i < 2; i++) {
      const both = Math.log(Math.exp(plain.lse[i]) + Math.exp(0.7));
      expect(Math.abs(counted.lse[i] - both)).toBeLessThanOrEqual(16 * 2 ** -53 * Math.abs(both));
    }
    // A row that sees the sink alone.
    expect(numbers(undefined, { ...nothing, sink }).lse[0]).toBe(0.7);
    expect(numbers("flashAttention2", { ...nothing, sink }).lse[0]).toBe(0.7);
    expect(numbers(undefined, { ...nothing, sink, semantics: { lseIncludesSink: false } }).lse[0]).toBe(
      -Infinity,
    );
  });
});

describe("alibi", () => {
  // Scores of zero and a slope of ln 2: weights are powers of two.
  const zero = { data: new Float64Array(8), shape: [1, 1, 2, 4] };
  const keys = { data: new Float64Array(12), shape: [1, 1, 3, 4] };
  const P = (options: AttentionOptions) =>
    Array.from(
      attention(zero, keys, keys, { alibiSlopes: [Math.LN2], probabilities: true, ...options }).probabilities!
        .data,
      (x) => Math.round(Number(x) * 1e12) / 1e12,
    );
  const share = (...weights: number[]) => {
    const sum = weights.reduce((a, b) => a + b);
    return weights.map((w) => Math.round(w / sum * 1e12) / 1e12);
  };

  it("distance from the diagonal, p = i + M − N", () => {
    expect(P({})).toEqual([...share(1, 2, 1), ...share(1, 2, 4)]);
    expect(P({ align: "top-left" })).toEqual([...share(4, 2, 1), ...share(1, 2, 1)]);
  });

  it("relative, j − i, which has no offset and no turning point", () => {
    expect(P({ semantics: "flashInfer" })).toEqual([...share(1, 2, 4), ...share(1, 2, 4)]);
  });

  it("a slope that multiplies the bias", () => {
    const bias = { data: Float32Array.of(0, 1, 3), shape: [3] };
    expect(P({ semantics: "ggml", bias })).toEqual([...share(1, 2, 8), ...share(1, 2, 8)]);
    expect(P({ semantics: "ggml" })).toEqual([...share(1, 1, 1), ...share(1, 1, 1)]);
    const cut = { data: Float32Array.of(0, -Infinity, 1), shape: [3] };
    expect(P({ semantics: "ggml", bias: cut, alibiSlopes: [0] })).toEqual([
      ...share(1, 0, 1),
      ...share(1, 0, 1),
    ]);
  });

  it("raw in flash-attention 2's causal kernel: same O, lse larger by slope·p", () => {
    const slope = 0.3;
    const both = (options: AttentionOptions) =>
      (["flashAttention2", "flashAttention4"] as const).map((name) =>
        numbers(name, { alibiSlopes: [slope], ...options })
      );
    for (
      const options of [{ causal: true }, { window: [null, 0] }, { causal: true, window: [3, 0] }] as const
    ) {
      const [raw, plain] = both(options);
      expect(raw.out).toEqual(plain.out);
      for (let i = 0; i < 2; i++) {
        expect(Math.abs(raw.lse[i] - plain.lse[i] - slope * (i + 1))).toBeLessThanOrEqual(8 * 2 ** -53);
      }
    }
    for (const options of [{}, { causal: true, window: [2, 0] }, { window: [null, 1] }] as const) {
      const [raw, plain] = both(options);
      expect(raw.lse).toEqual(plain.lse);
    }
  });
});

describe("softcap", () => {
  it("before ALiBi, or with ALiBi inside", () => {
    const options = { softcap: 0.5, alibiSlopes: [0.3] };
    const [before, after] = [
      numbers(undefined, options).lse[0],
      numbers("flashInfer", options).lse[0] * Math.LN2,
    ];
    const x = (j: number) => [0, 1, 2, 3].reduce((sum, d) => sum + q.data[d] * k.data[j * 4 + d], 0) / 2;
    const cap = (s: number) => 0.5 * Math.tanh(s / 0.5);
    const lse = (f: (j: number) => number) => Math.log([0, 1, 2].reduce((sum, j) => sum + Math.exp(f(j)), 0));
    // a dozen roundings of numbers below 4
    expect(Math.abs(before - lse((j) => cap(x(j)) - 0.3 * Math.abs(1 - j)))).toBeLessThanOrEqual(2 ** -46);
    expect(Math.abs(after - lse((j) => cap(x(j) + 0.3 * j)))).toBeLessThanOrEqual(2 ** -46);
  });
});

describe("openWindow", () => {
  const keys = (N: number, M: number, window: [number | null, number | null], name: SemanticsName) =>
    seen(N, M, { window, semantics: name }).map((row) => row.join(""));

  it("M keys or more is open in flash-attention 2, and only there", () => {
    // 6 queries, 2 keys: diagonals −4 … 1
    expect(keys(6, 2, [null, 2], "flashAttention4")).toEqual(["", "", "0", "01", "01", "01"]);
    expect(keys(6, 2, [null, 2], "flashAttention2")).toEqual(["01", "01", "01", "01", "01", "01"]);
    expect(keys(6, 2, [null, 1], "flashAttention2")).toEqual(keys(6, 2, [null, 1], "flashAttention4"));
  });

  it("an open side beside a closed one reaches M keys", () => {
    expect(keys(6, 2, [1, null], "flashAttention4")).toEqual(["01", "01", "01", "01", "01", "01"]);
    expect(keys(6, 2, [1, null], "flashAttention2")).toEqual(["", "", "0", "01", "01", "01"]);
  });

  it("is no different where there are at least as many keys as queries", () => {
    for (
      const window of [[2, null], [null, 2], [100, 0], [0, 100], [1, 1]] as [number | null, number | null][]
    ) {
      expect(keys(4, 6, window, "flashAttention2")).toEqual(keys(4, 6, window, "flashAttention4"));
    }
    expect(seen(3, 5, { causal: true, align: { offset: 20 }, semantics: "flashAttention2" }))
      .toEqual(new Array(3).fill([0, 1, 2, 3, 4]));
  });
});

describe("zeroScale", () => {
  it("zero, or the default in onnxruntime", () => {
    const lse = Array.from(numbers("sdpa", { scale: 0 }).lse);
    expect(lse).toEqual([1.0986122886681098, 1.0986122886681098]);
    expect(numbers("ortCpu", { scale: 0 })).toEqual(numbers("ortCpu"));
  });
});

describe("the record", () => {
  it("overrides single switches of the defaults", () => {
    expect(numbers(undefined, { ...nothing, semantics: { emptyLse: "+inf" } }).lse[0]).toBe(Infinity);
    const own = { ...presets.flashInfer, lseBase: "e" } as const;
    expect(numbers(undefined, { semantics: own }).lse).toEqual(numbers(undefined).lse);
  });

  it("has every switch in every preset, with values that exist", () => {
    for (const record of [semantics.defaults, ...Object.values(presets)]) {
      expect(Object.keys(record).sort()).toEqual(Object.keys(semantics.switches).sort());
      for (const [name, values] of Object.entries(semantics.switches)) {
        expect(values).toContain(record[name as keyof semantics.Semantics]);
        expect(values[0]).toBe(semantics.defaults[name as keyof semantics.Semantics]);
      }
    }
  });

  it("says what it does not know", () => {
    const fail = (record: unknown, Class: typeof TypeError | typeof RangeError, message: string) =>
      expectThrow(() => attention(q, k, v, { semantics: record as "sdpa" }), Class, message);
    const names = Object.keys(presets).map((name) => `"${name}"`).join(", ");
    fail("fa2", RangeError, `semantics: expected ${names}, got "fa2"`);
    fail(7, TypeError, "semantics: expected a preset's name or a record, got 7");
    fail(null, TypeError, "semantics: expected a preset's name or a record, got null");
    const all = Object.keys(semantics.switches).join(", ");
    fail({ base: 2 }, TypeError, `semantics.base: no such option; there are ${all}`);
    fail({ lseBase: 2 }, TypeError, 'semantics.lseBase: expected "e", "2", got 2');
    fail(
      { lseIncludesSink: "yes" },
      TypeError,
      'semantics.lseIncludesSink: expected true, false, got "yes"',
    );
  });
});

describe("defaults", () => {
  it("are the formula", () => {
    const want = formula(q, k, v, { causal: true, sink: [1], alibiSlopes: [0.5] });
    const got = numbers(undefined, { causal: true, sink: [1], alibiSlopes: [0.5] });
    got.lse.forEach((x, i) => expect(Math.abs(x - want.lse[i])).toBeLessThanOrEqual(want.lseBound[i]));
  });
});

describe("docs/semantics.md", () => {
  it("is what node tools/docs-semantics.js makes of src/semantics.ts", () => {
    const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8");
    expect(read("../docs/semantics.md")).toBe(semanticsPage(read("../src/semantics.ts"), semantics));
  });
});
