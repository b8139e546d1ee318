/** mergeStates: split keys and put them together again; the laws of the algebra. */
import { describe, expect, it } from "vitest";
import { attention, type AttentionOptions, mergeStates, type State } from "../src/reference/index.ts";
import { sample } from "./suites/cases.ts";
import { beyond, type Made, normal, transposed } from "./support/tensors.ts";
import { expectThrow } from "./support/throws.ts";

const [q, k, v] = sample([2, 4, 2, 7, 40, 16, 8], 1);

/** Keys from ≤ j < to. */
function slice(t: Made, from: number, to: number): Made {
  const [B, G, M, width] = t.shape;
  const rows = Array.from(
    { length: B * G },
    (_, x) => t.data.slice((x * M + from) * width, (x * M + to) * width),
  );
  return { data: Float32Array.from(rows.flatMap((row) => [...row])), shape: [B, G, to - from, width] };
}

/** The states of keys cut at `cuts`; only the first part gets the sink, and the diagonal stays where it was. */
function parts(cuts: number[], options: AttentionOptions): State[] {
  const ends = [0, ...cuts, 40];
  return ends.slice(1).map((end, s) => {
    const { sink, ...rest } = options;
    const part = s === 0 && sink ? { ...rest, sink } : rest;
    const align = { offset: 40 - 7 - ends[s] };
    const { out, lse } = attention(q, slice(k, ends[s], end), slice(v, ends[s], end), {
      ...part,
      align,
      lse: true,
    });
    return { out, lse: lse! };
  });
}

describe("mergeStates", () => {
  // Two evaluations of the same sums: (D + 15)·|x| + 2M + 12 roundings of 2^−53 each way, |x| and |v| below 40.
  const bound = 2 * 2 ** -53 * (31 * 40 + 92) * 5;
  for (
    const [title, options] of [
      ["plain", {}],
      ["causal", { causal: true }],
      ["window: some parts are empty for some rows", { window: [4, 0] }],
      ["a sink in exactly one part", { sink: [1, -2, 8, -Infinity], causal: true }],
    ] as [string, AttentionOptions][]
  ) {
    it(`any split is the whole: ${title}`, () => {
      const whole = attention(q, k, v, { ...options, lse: true });
      for (const cuts of [[20], [1, 2, 39], [8, 16, 24, 32], [40]]) {
        const { out, lse } = mergeStates(parts(cuts, options));
        expect(out.shape).toEqual([2, 4, 7, 8]);
        expect(beyond(out.data, whole.out.data as Float64Array, bound)).toEqual([]);
        expect(beyond(lse.data, whole.lse!.data as Float64Array, bound)).toEqual([]);
      }
    });
  }

  it("is commutative and associative up to rounding", () => {
    const [a, b, c, d] = parts([10, 20, 30], { causal: true });
    const all = mergeStates([a, b, c, d]);
    const close = (x: State) => {
      expect(beyond((x.out as Made).data, all.out.data as Float64Array, bound)).toEqual([]);
      expect(beyond((x.lse as Made).data, all.lse.data as Float64Array, bound)).toEqual([]);
    };
    close(mergeStates([d, b, a, c]));
    close(mergeStates([mergeStates([a, b]), mergeStates([c, d])]));
    close(mergeStates([a, mergeStates([b, mergeStates([c, d])])]));
  });

  it("(0, −∞) is the identity, whatever its out holds, and merges with itself", () => {
    const [a] = parts([40], {});
    const nothing = {
      out: { data: new Float64Array(448).fill(NaN), shape: [2, 4, 7, 8] },
      lse: { data: new Float64Array(56).fill(-Infinity), shape: [2, 4, 7] },
    };
    for (const merged of [mergeStates([a]), mergeStates([nothing, a]), mergeStates([a, nothing, nothing])]) {
      expect(merged.out.data).toEqual((a.out as Made).data);
      expect(merged.lse.data).toEqual((a.lse as Made).data);
    }
    const empty = mergeStates([nothing, nothing]);
    expect(empty.out.data).toEqual(new Float64Array(448));
    expect(empty.lse.data).toEqual((nothing.lse as { data: Float64Array }).data);
  });

  it("weights far apart neither overflow nor vanish", () => {
    const state = (out: number, lse: number) => ({
      out: { data: Float64Array.of(out), shape: [1, 1, 1, 1] },
      lse: { data: Float64Array.of(lse), shape: [1, 1, 1] },
    });
    expect(mergeStates([state(1, 5000), state(2, -5000)]).out.data[0]).toBe(1);
    expect(mergeStates([state(1, -9000), state(3, -9000)]).out.data[0]).toBe(2);
    expect(mergeStates([state(1, 0), state(NaN, 0)]).out.data[0]).toBe(NaN);
    expect(mergeStates([state(1, 0), state(1, NaN)]).lse.data[0]).toBe(NaN);
  });

  it("layouts: bnhd and thd", () => {
    const states = parts([13], {});
    const want = mergeStates(states);
    const swapped = states.map(({ out, lse }) => ({ out: transposed(out as Made), lse }));
    const got = mergeStates(swapped, { layout: "bnhd" });
    expect(transposed(got.out as Made).data).toEqual(want.out.data);
    // One packed sequence of 7 tokens is batch 0.
    const packed = swapped.map(({ out, lse }) => ({
      out: { data: out.data.slice(0, 224), shape: [7, 4, 8] },
      lse: { data: (lse as Made).data.slice(0, 28), shape: [4, 7] },
    }));
    const thd = mergeStates(packed, { layout: "thd" });
    expect(thd.out.shape).toEqual([7, 4, 8]);
    expect(thd.out.data).toEqual(got.out.data.slice(0, 224));
    expect(thd.lse.data).toEqual(want.lse.data.slice(0, 28));
  });

  it("semantics: base-2 lse, +∞ for nothing; dtype of out", () => {
    const base2 = mergeStates(
      parts([13], { window: [3, 0], semantics: "flashInfer" }),
      { semantics: "flashInfer", out: "float32" },
    );
    const whole = attention(q, k, v, { window: [3, 0], semantics: "flashInfer", lse: true, out: "float32" });
    expect(base2.out.dtype).toBe("float32");
    expect(beyond(base2.out.data, whole.out.data as Float32Array, 2 ** -22)).toEqual([]);
    expect(beyond(base2.lse.data, whole.lse!.data as Float64Array, 2 * bound)).toEqual([]);
    const nothing = attention(q, slice(k, 0, 0), slice(v, 0, 0), { semantics: "flashAttention2", lse: true });
    const { out, lse } = nothing;
    expect(mergeStates([{ out, lse: lse! }], { semantics: "flashAttention2" }).lse.data[0]).toBe(Infinity);
  });

  it("says what is wrong", () => {
    const out = normal(1, [1, 2, 3, 4]);
    const lse = normal(2, [1, 2, 3]);
    const no = (call: () => unknown, Class: typeof TypeError | typeof RangeError, message: string) =>
      expectThrow(call, Class, message);
    no(() => mergeStates({} as State[]), TypeError, "states: expected an array, got Object");
    no(() => mergeStates([]), RangeError, "states: expected at least one, got none");
    no(() => mergeStates([null as unknown as State]), TypeError, "states[0]: expected {out, lse}, got null");
    no(
      () => mergeStates([{ out, lse: out }]),
      RangeError,
      "states[0].lse: expected [B,H,N] with B=1, H=2, N=3, got [1,2,3,4]",
    );
    no(
      () => mergeStates([{ out, lse }, { out: normal(1, [1, 2, 3, 5]), lse }]),
      RangeError,
      "states[1].out: expected [B,H,N,E] with B=1, H=2, N=3, E=4, got [1,2,3,5]",
    );
    no(() => mergeStates([{ out: lse, lse }]), RangeError, "states[0].out: expected [B,H,N,E], got [1,2,3]");
    no(
      () => mergeStates([{ out, lse }], { layout: "tnd" as "thd" }),
      RangeError,
      'layout: expected "bhnd", "bnhd", "thd", got "tnd"',
    );
  });
});
