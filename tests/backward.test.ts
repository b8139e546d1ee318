/** Gradients of the oracle: against finite differences of its forward pass, and the golden ones. */
import { describe, expect, it } from "vitest";
import {
  attention,
  attentionBackward,
  type AttentionOptions,
  type BackwardOptions,
} from "../src/reference/index.ts";
import { sample } from "./suites/cases.ts";
import { gradientBounds } from "./support/gradientbounds.ts";
import { golden, storage } from "./support/golden.ts";
import { beyond, coin, type Made, normal, transposed, wide } from "./support/tensors.ts";
import { expectThrow } from "./support/throws.ts";

/**
 * Central differences of eighth order, f′(x) = Σ_n c_n·(f(x + nh) − f(x − nh))/h. The error is f⁽⁹⁾h⁸/630: with h =
 * 2^−5 and derivatives of order one, 2^−40/630 ≈ 1e-15; rounding is ε·|f|/h, 2^−52·100·32 ≈ 7e-13. The gradients here
 * are of order one, so 1e-7 of the largest would forgive much more than this leaves.
 */
const STEP = 2 ** -5;
const COEFFICIENTS = [4 / 5, -1 / 5, 4 / 105, -1 / 280];

function difference(f: () => number, data: Made["data"], x: number): number {
  const middle = data[x];
  let sum = 0;
  COEFFICIENTS.forEach((c, n) => {
    data[x] = middle + (n + 1) * STEP;
    const above = f();
    data[x] = middle - (n + 1) * STEP;
    sum += c * (above - f());
  });
  data[x] = middle;
  return sum / STEP;
}

/** Σ dOut·out + Σ dLse·lse over rows that see something, and its gradients by both ways. */
function check(q: Made, k: Made, v: Made, options: AttentionOptions, withLse = true): void {
  [q, k, v] = [q, k, v].map(wide);
  const bias = options.bias ? wide(options.bias as Made) : undefined;
  const sink = options.sink
    ? { data: Float64Array.from(options.sink as number[]), shape: [(options.sink as number[]).length] }
    : undefined;
  const all: AttentionOptions = { ...options, ...(bias && { bias }), ...(sink && { sink }), lse: true };
  const first = attention(q, k, v, all);
  const dOut = wide(normal(91, first.out.shape));
  const dLse = wide(normal(92, first.lse!.shape));
  const loss = () => {
    const { out, lse } = attention(q, k, v, all);
    let sum = 0;
    for (let x = 0; x < out.data.length; x++) sum += dOut.data[x] * out.data[x];
    for (let x = 0; withLse && x < lse!.data.length; x++) {
      if (Math.abs(lse!.data[x]) !== Infinity) sum += dLse.data[x] * lse!.data[x];
    }
    return sum;
  };
  const got = attentionBackward(q, k, v, first.out, first.lse!, dOut, { ...all, ...(withLse && { dLse }) });
  for (const [name, input] of [["dq", q], ["dk", k], ["dv", v], ["dBias", bias], ["dSink", sink]] as const) {
    const gradient = got[name];
    expect(gradient?.shape, name).toEqual(input?.shape);
    if (!input) continue;
    const want = Float64Array.from(
      input.data,
      (value, x) => value === -Infinity ? 0 : difference(loss, input.data, x),
    );
    const scale = want.reduce((top, x) => Math.max(top, Math.abs(x)), 1);
    expect(beyond(gradient!.data, want, 1e-7 * scale), name).toEqual([]);
    if (input.data.length > 0 && name !== "dBias") expect(want.some((x) => x !== 0), name).toBe(true);
  }
}

const small = () => sample([1, 2, 1, 3, 5, 4, 3], 1);

describe("finite differences", () => {
  const bias = normal(3, [2, 1, 5]);
  bias.data[2] = -Infinity;
  const cases: [string, AttentionOptions][] = [
    ["plain", {}],
    ["scale", { scale: 0.7 }],
    ["causal", { causal: true }],
    ["causal from the top left", { causal: true, align: "top-left" }],
    ["causal with rows that see nothing", { causal: true, align: { offset: -2 } }],
    ["window and sink tokens", { window: [1, 0], sinkTokens: 1 }],
    ["chunk", { chunk: 2 }],
    ["softcap", { softcap: 1.3 }],
    ["softcap, ALiBi and bias", { softcap: 0.9, alibiSlopes: [0.5, 0.1], bias }],
    ["bias [H,1,M] with −∞", { bias }],
    ["bias [M]", { bias: normal(4, [5]) }],
    ["bias [N,1]: no gradient but through lse", { bias: normal(5, [3, 1]) }],
    ["bias [B,H,N,M]", { bias: normal(6, [1, 2, 3, 5]), causal: true }],
    ["mask", { mask: coin(7, [3, 5], 0.6) }],
    ["sink", { sink: [0.4, -1] }],
    ["sink where a row sees nothing else", { sink: [0.4, -1], causal: true, align: { offset: -1 } }],
    ["sink of −∞ in one head", { sink: [0.4, -Infinity] }],
    ["sink, lse without it", { sink: [0.4, 1.5], semantics: { lseIncludesSink: false } }],
    ["keyLengths", { keyLengths: [4], causal: true }],
    ["dropout", { dropout: { p: 0.4, seed: 3 } }],
    ["dropout, softcap, bias, sink, causal", {
      dropout: { p: 0.3, seed: 9 },
      softcap: 2,
      bias,
      sink: [0.1, 0.2],
      causal: true,
    }],
    ["flashAttention2: raw ALiBi, +∞", {
      semantics: "flashAttention2",
      alibiSlopes: [0.5, 0.25],
      causal: true,
      align: { offset: -1 },
    }],
    ["flashInfer: base 2, ALiBi in the softcap", {
      semantics: "flashInfer",
      alibiSlopes: [0.5, 0.25],
      softcap: 1,
    }],
    ["ggml: slopes times bias", { semantics: "ggml", alibiSlopes: [0.5, 0.25], bias }],
    ["onnxruntime: the mean of V", { semantics: "ortCpu", mask: coin(8, [3, 5], 0.3), keyLengths: [4] }],
  ];
  for (const [title, options] of cases) {
    it(title, () => check(...small(), options));
  }

  it("without dLse", () => check(...small(), { sink: [0.4, -1], causal: true }, false));

  it("GQA sums over the heads of a group, batches are apart", () =>
    check(...sample([2, 6, 2, 2, 3, 3, 2], 2), {}));

  it("E ≠ D, N > M", () => check(...sample([1, 1, 1, 4, 2, 5, 1], 3), { causal: true }));

  it("bnhd", () => {
    const [q, k, v] = sample([1, 4, 2, 2, 3, 3, 2], 4).map((t) => transposed(t));
    check(q, k, v, { layout: "bnhd", causal: true });
  });

  it("thd, an empty sequence and rows of nobody", () => {
    const [q, k, v] = [normal(1, [6, 2, 3]), normal(2, [7, 1, 3]), normal(3, [7, 1, 2])];
    check(q, k, v, {
      layout: "thd",
      cuSeqlens: { q: [0, 2, 3, 5], k: [0, 4, 4, 6] },
      causal: true,
      sink: [1, 0],
    });
  });
});

describe("golden gradients", () => {
  const cases = golden().filter(({ tensors }) => tensors.has("dout"));

  it("there are 139", () => expect(cases.length).toBe(139));

  for (const example of cases) {
    it(example.name, () => {
      const { q, k, v, options, tensors } = example;
      const { out, lse } = attention(q, k, v, { ...options, lse: true });
      const got = attentionBackward(q, k, v, out, lse!, tensors.get("dout")!, options);
      const bounds = gradientBounds(example, out, lse!);
      for (const key of ["dq", "dk", "dv", "dBias", "dSink"] as const) {
        const expected = tensors.get(key.toLowerCase());
        if (!expected) continue;
        const want = Float64Array.from(expected.data as Float64Array);
        const rounding = storage(expected);
        expect(got[key]!.shape).toEqual(expected.shape);
        expect(beyond(got[key]!.data, want, want.map((x, at) => bounds[key][at] + rounding(x))), key).toEqual(
          [],
        );
      }
    });
  }
});

describe("what it is given", () => {
  const [q, k, v] = small();
  const { out, lse } = attention(q, k, v, { lse: true });
  const call = (change: Partial<Record<"out" | "lse" | "dOut", unknown>>, options: BackwardOptions = {}) => {
    const given = { out, lse, dOut: out, ...change } as { out: Made; lse: Made; dOut: Made };
    return attentionBackward(q, k, v, given.out, given.lse, given.dOut, options);
  };

  it("checks shapes and kinds by name", () => {
    expectThrow(() => call({ out: q }), RangeError, "out: expected [1,2,3,3], got [1,2,3,4]");
    expectThrow(() => call({ lse: out }), RangeError, "lse: expected [1,2,3], got [1,2,3,3]");
    expectThrow(() => call({ dOut: k }), RangeError, "dOut: expected [1,2,3,3], got [1,1,5,4]");
    expectThrow(() => call({ dOut: null }), TypeError, "dOut: expected a tensor {data, shape}, got null");
    expectThrow(() => call({}, { dLse: out }), RangeError, "dLse: expected [1,2,3], got [1,2,3,3]");
    expectThrow(
      () => call({}, null as unknown as BackwardOptions),
      TypeError,
      "options: expected an object, got null",
    );
    expect(() => call({}, { dlse: lse } as BackwardOptions)).toThrow(/^dlse: no such option/);
  });

  it("gives the dtype that is asked for", () => {
    expect(call({}, { out: "float32" }).dk.data).toBeInstanceOf(Float32Array);
    expect(call({}).dk.data).toBeInstanceOf(Float64Array);
  });

  it("poison at masked keys gives no gradient and spoils none", () => {
    const mask = { data: new Uint8Array([1, 0, 1, 1, 0]), shape: [5], dtype: "bool" as const };
    const clean = attention(q, k, v, { mask, lse: true });
    const want = attentionBackward(q, k, v, clean.out, clean.lse!, out, { mask });
    for (const poison of [NaN, Infinity]) {
      const dirty = [k, v].map((t) => ({ ...t, data: t.data.slice() }));
      for (const j of [1, 4]) {
        dirty[0].data.fill(poison, j * 4, j * 4 + 4);
        dirty[1].data.fill(poison, j * 3, j * 3 + 3);
      }
      const got = attentionBackward(q, dirty[0], dirty[1], clean.out, clean.lse!, out, { mask });
      expect(got).toEqual(want);
      expect(Array.from(got.dk.data.slice(4, 8))).toEqual([0, 0, 0, 0]);
    }
  });

  it("empty axes give empty gradients, no keys give zeros", () => {
    for (const [N, M] of [[0, 4], [3, 0]]) {
      const [a, b, c] = sample([1, 2, 1, N, M, 4, 3], 5);
      const r = attention(a, b, c, { lse: true });
      const g = attentionBackward(a, b, c, r.out, r.lse!, r.out, { sink: [0, 0] });
      expect([g.dq.shape, g.dk.shape, g.dv.shape]).toEqual([a.shape, b.shape, c.shape]);
      for (const x of [...g.dq.data, ...g.dk.data, ...g.dv.data, ...g.dSink!.data]) {
        expect(Math.abs(x)).toBe(0);
      }
    }
  });
});
