/**
 * Decode against a float64 softmax, at every edge of its tiles, phases and splits, on every build and on the scalar
 * twins. u = 2^-24; where a tolerance stands it is derived.
 */
import { describe, expect, it } from "vitest";
import { decodeBFloat16, decodeFloat16, encodeBFloat16, encodeFloat16 } from "../src/dtype.ts";
import { decode, decode_p, type DecodeOptions, type DecodeShape, SPLIT } from "../src/ops/decode.ts";
import { FIRST, SCORES, SINK_IN_LSE, TASK_BYTES } from "../src/ops/task.ts";
import * as word from "../src/ops/word.ts";
import type { AttentionOptions } from "../src/options.ts";
import { attention } from "../src/reference/attention.ts";
import { exp, log } from "../src/reference/math.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";
import { deterministicFull as deterministic, relaxedFull as relaxed } from "../src/wasm/full.ts";
import { type Engine, instantiate } from "../src/wasm/load.ts";
import { scalarEngine } from "../src/wasm/table.ts";
import { floats, gaussian, guarded } from "./support/guard.ts";

const U = 2 ** -24;
const simd = instantiate(deterministic);
const scalar = scalarEngine(simd);
const ENGINES: [string, Engine][] = [["deterministic", simd], ["scalar", scalar]];
if (hasRelaxedSimd()) ENGINES.push(["relaxed", instantiate(relaxed)]);

type Options = DecodeShape & DecodeOptions;

const bits = (x: Float32Array) => Array.from(new Int32Array(x.buffer, x.byteOffset, x.length));

interface Inputs {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
}

function inputs({ N, M, H, G, D, E = D }: DecodeShape, seed = 1): Inputs {
  return {
    q: floats(N * H * D, gaussian(seed)),
    k: floats(M * G * D, gaussian(seed + 1)),
    v: floats(M * G * E, gaussian(seed + 2)),
  };
}

/** Keys that query i sees. */
function range({ N, M, causal = true, ranges }: Options, i: number): [number, number] {
  return ranges ? [ranges[2 * i], ranges[2 * i + 1]] : [0, causal ? Math.max(0, M - N + i + 1) : M];
}

/**
 * Compares one call with float64. The bound, to first order, for weights w_j = P_ij:
 *   x_j        (D + 3)·u·scale·Σ|q·k| for the product, 4u·|x_j| for scale·log2(e), 8u·cap behind a tanh of 4 ulp
 *   exponent   3u·|x_j − m| + u·|x_j|, exp2 5u                                → ε_j, the relative error of P_j
 *   O          Σ w_j·ε_j·(|v_j| + |O|), and the sums of M terms: (2M + 16)·u·Σ w_j·|v_j|
 *   lse        Σ w_j·ε_j + (M + 8)·u + 4u·|lse|
 * What exp2 flushes to 0 is below 2^-126 of the largest weight.
 */
function compare(engine: Engine, options: Options, { q, k, v }: Inputs): void {
  const { N, H, G, D, E = D, scale = 1 / Math.sqrt(D), softcap = 0 } = options;
  const { out, lse } = decode(engine, q, k, v, options);
  for (let h = 0; h < H; h++) {
    const g = Math.floor(h * G / H);
    for (let i = 0; i < N; i++) {
      const [lo, hi] = range(options, i);
      const x: number[] = [], size: number[] = [];
      for (let j = lo; j < hi; j++) {
        let dot = 0, abs = 0;
        for (let d = 0; d < D; d++) {
          const product = q[(i * H + h) * D + d] * k[(j * G + g) * D + d];
          dot += product;
          abs += Math.abs(product);
        }
        x.push(softcap ? softcap * Math.tanh(scale * dot / softcap) : scale * dot);
        size.push(Math.abs(scale) * abs);
      }
      const m = Math.max(-Infinity, ...x);
      const l = x.reduce((sum, y) => sum + exp(y - m), 0);
      const w = x.map((y) => exp(y - m) / l);
      const error = x.map((y, j) =>
        U * ((D + 3) * size[j] + 5 * Math.abs(y) + 8 * softcap + 3 * Math.abs(y - m) + 5)
      );
      const blur = w.reduce((sum, p, j) => sum + p * error[j], 0);
      const wantLse = m + log(l), title = `${JSON.stringify(options)} h=${h} i=${i}`;
      const lseBound = blur + (x.length + 8) * U + 4 * U * Math.abs(wantLse);
      near(lse[h * N + i], wantLse, lseBound, `lse ${title}`);
      for (let e = 0; e < E; e++) {
        let want = 0, abs = 0, spread = 0;
        w.forEach((p, j) => {
          const y = v[((lo + j) * G + g) * E + e];
          want += p * y;
          abs += p * Math.abs(y);
          spread += p * error[j] * Math.abs(y);
        });
        const bound = spread + blur * Math.abs(want) + (2 * x.length + 16) * U * abs + 2 ** -149;
        near(out[(i * H + h) * E + e], want, bound, `out ${title} e=${e}`);
      }
    }
  }
}

function near(got: number, want: number, bound: number, title: string): void {
  if (got === want || Math.abs(got - want) <= bound) return;
  expect.fail(`${title}: got ${got}, want ${want}, error ${Math.abs(got - want)} > ${bound}`);
}

describe.each(ENGINES)("decode, %s", (_, engine) => {
  const KEYS = [0, 1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 127, 129, 191, 511, 512, 513, 577];
  it.each(KEYS)("agrees with float64 over %i keys", (M) => {
    for (const [H, G, N] of [[1, 1, 1], [4, 1, 1], [6, 2, 1], [5, 1, 1], [2, 2, 3], [4, 2, 4], [1, 1, 5]]) {
      const options = { N: Math.min(N, Math.max(M, 1)), M, H, G, D: 12, E: 20 };
      compare(engine, options, inputs(options, M + H));
    }
  });

  it.each([1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 64, 67, 130])("agrees for heads of %i", (width) => {
    for (const [D, E] of [[width, width], [width, 6], [6, width]]) {
      for (const H of [1, 2, 4]) {
        const options = { N: 1, M: 71, H, G: 1, D, E };
        compare(engine, options, inputs(options, width + H));
      }
    }
  });

  it.each([SPLIT - 1, SPLIT, SPLIT + 1, 2 * SPLIT + 70])("merges splits over %i keys", (M) => {
    for (const [H, N] of [[1, 1], [4, 1], [1, 3]]) {
      const options = { N, M, H, G: 1, D: 8, E: 8 };
      const data = inputs(options, M);
      // The largest score sits in the last split, in the first, in the middle: every rescaling of a merge.
      for (const top of [M - 1, 3, SPLIT - 1]) {
        const k = data.k.slice();
        for (let d = 0; d < 8; d++) k[top * 8 + d] = 30 * Math.sign(data.q[d]);
        compare(engine, options, { ...data, k });
      }
    }
  });

  it("does not skip keys of small widths D = 0, E = 0", () => {
    const none = { N: 1, M: 3, H: 2, G: 1, D: 0, E: 2, scale: 1 };
    const { out, lse } = decode(
      engine,
      new Float32Array(0),
      new Float32Array(0),
      Float32Array.of(1, 2, 3, 4, 5, 6),
      none,
    );
    expect(Array.from(out)).toEqual([3, 4, 3, 4]);
    near(lse[0], log(3), 2 * U, "lse");
    expect(
      decode(engine, new Float32Array(2), new Float32Array(3), new Float32Array(0), {
        ...{ N: 1, M: 3, H: 2, G: 1, D: 1, E: 0 },
      }).out.length,
    ).toBe(0);
  });

  it("takes scale 0, a negative scale and a softcap", () => {
    for (const H of [1, 3]) {
      const shape = { N: 2, M: 90, H, G: 1, D: 7 };
      for (
        const more of [{ scale: 0 }, { scale: -0.7 }, { scale: 3, softcap: 5 }, {
          softcap: 0.5,
          causal: false,
        }]
      ) {
        compare(engine, { ...shape, ...more }, inputs(shape, H));
      }
    }
  });

  it("survives denormal and huge inputs", () => {
    for (const H of [1, 4]) {
      const shape = { N: 1, M: 70, H, G: 1, D: 5 };
      const data = inputs(shape, 3);
      const times = (x: Float32Array, by: number) => x.map((y) => y * by);
      compare(engine, shape, { ...data, v: times(data.v, 1e-39) });
      compare(engine, shape, { ...data, k: times(data.k, 1e-41) });
      compare(engine, shape, { ...data, q: times(data.q, 1e15), k: times(data.k, 1e15) });
      compare(engine, shape, { ...data, v: times(data.v, 4e37) });
    }
  });

  it("does not overflow before it divides", () => {
    for (const H of [1, 2, 4]) {
      const shape = { N: 1, M: 300, H, G: 1, D: 4, E: 9 };
      const { q, k } = inputs(shape, 4);
      const largest = new Float32Array(300 * 9).fill(3.4e38);
      compare(engine, shape, { q, k, v: largest });
      compare(engine, shape, { q, k, v: largest.map((x, i) => i % 9 === 4 ? 1e-30 : x) });
    }
  });

  it("gives O = 0 and lse = −∞ where a query sees no key", () => {
    const shape = { N: 3, M: 80, H: 2, G: 1, D: 4, ranges: Int32Array.of(0, 0, 70, 70, 9, 5) };
    const { q, k, v } = inputs(shape);
    const { out, lse } = decode(engine, q, k, v, shape);
    expect(Array.from(out)).toEqual(new Array(24).fill(0));
    expect(Array.from(lse)).toEqual(new Array(6).fill(-Infinity));
  });

  it("sees lo ≤ j < hi, and nothing of what lies elsewhere", () => {
    for (const H of [1, 2, 3]) {
      const M = 700;
      const ranges = Int32Array.of(64, 128, 0, 700, 100, 101, 5, 640, 639, 641, 0, 64, 690, 700);
      const shape = { N: 7, M, H, G: 1, D: 6, E: 10, ranges };
      const data = inputs(shape, 5);
      compare(engine, shape, data);
      const clean = decode(engine, data.q, data.k, data.v, shape);
      for (let i = 0; i < 7; i++) {
        const poison = (x: Float32Array, width: number, by: number) =>
          x.map((y, at) => at >= ranges[2 * i] * width && at < ranges[2 * i + 1] * width ? y : by);
        const k = poison(data.k, 6, NaN), v = poison(data.v, 10, Infinity);
        const got = decode(engine, data.q, k, v, shape);
        for (let h = 0; h < H; h++) {
          const at = (i * H + h) * 10;
          expect(bits(got.out.slice(at, at + 10))).toEqual(bits(clean.out.slice(at, at + 10)));
          expect(got.lse[h * 7 + i]).toBe(clean.lse[h * 7 + i]);
        }
      }
    }
  });

  it("keeps a visible NaN in its row", () => {
    const shape = { N: 4, M: 66, H: 2, G: 2, D: 4 };
    const { q, k, v } = inputs(shape);
    q[(1 * 2 + 1) * 4] = NaN;
    const { out, lse } = decode(engine, q, k, v, shape);
    out.forEach((x, at) => expect(Number.isNaN(x)).toBe(Math.floor(at / 4) === 3));
    lse.forEach((x, at) => expect(Number.isNaN(x)).toBe(at === 1 * 4 + 1));
  });

  it("gives a query the same bits alone, in a batch of queries, and in a group of heads", () => {
    const D = 20, E = 12, M = SPLIT + 150, H = 7, N = 3;
    const { q, k, v } = inputs({ N, M, H, G: 1, D, E }, 6);
    const all = decode(engine, q, k, v, { N, M, H, G: 1, D, E });
    for (let i = 0; i < N; i++) {
      for (let h = 0; h < H; h++) {
        const row = q.slice((i * H + h) * D, (i * H + h + 1) * D);
        const ranges = Int32Array.of(0, M - N + i + 1);
        const one = decode(engine, row, k, v, { N: 1, M, H: 1, G: 1, D, E, ranges });
        expect(bits(one.out)).toEqual(bits(all.out.slice((i * H + h) * E, (i * H + h + 1) * E)));
        expect(bits(one.lse)).toEqual(bits(all.lse.slice(h * N + i, h * N + i + 1)));
      }
    }
  });

  it.each(["float16", "bfloat16"] as const)("reads %s as it reads the same numbers in float32", (dtype) => {
    const [encode, decodeWord] = dtype === "float16"
      ? [encodeFloat16, decodeFloat16]
      : [encodeBFloat16, decodeBFloat16];
    for (const [H, G, N, D, E] of [[1, 1, 1, 8, 8], [4, 1, 1, 7, 13], [2, 2, 2, 16, 3], [7, 1, 1, 70, 70]]) {
      const shape = { N, M: 150, H, G, D, E };
      const data = inputs(shape, 7);
      const words = (x: Float32Array) => Uint16Array.from(x, encode);
      const k = words(data.k), v = words(data.v);
      const want = decode(
        engine,
        data.q,
        Float32Array.from(k, decodeWord),
        Float32Array.from(v, decodeWord),
        shape,
      );
      const got = decode(engine, data.q, k, v, { ...shape, dtype });
      expect(bits(got.out)).toEqual(bits(want.out));
      expect(bits(got.lse)).toEqual(bits(want.lse));
      const known = decode(engine, data.q, k, v, { ...shape, dtype, finite: true });
      expect(bits(known.out)).toEqual(bits(want.out));
    }
  });

  it.each([["float16", 0x7c00, 0x7e01], ["bfloat16", 0xff80, 0x7fc1]] as const)(
    "knows ∞ and NaN of %s, in every lane",
    (dtype, infinite, nan) => {
      const D = 11, M = 70, one = dtype === "float16" ? 0x3c00 : 0x3f80;
      for (const H of [1, 2, 4]) {
        for (let d = 0; d < D; d++) {
          const k = new Uint16Array(M * D), v = new Uint16Array(M * D).fill(one), q = floats(H * D, () => 1);
          v[65 * D + d] = infinite;
          const { out } = decode(engine, q, k, v, { N: 1, M, H, G: 1, D, dtype });
          out.forEach((x, at) =>
            expect(x).toBe(at % D === d ? (infinite & 0x8000 ? -Infinity : Infinity) : 1)
          );
          k[66 * D + d] = nan;
          expect(decode(engine, q, k, v, { N: 1, M, H, G: 1, D, dtype }).out.every(Number.isNaN)).toBe(true);
          k[66 * D + d] = infinite | 0x8000;
          const away = decode(engine, q, k, v, { N: 1, M, H, G: 1, D, dtype });
          expect(away.lse[0]).toBeCloseTo(Math.log(M - 1), 5);
        }
      }
    },
  );

  it("reads a cache in place, whatever its strides, and writes nothing but its results", () => {
    const N = 2, M = 77, H = 4, G = 2, D = 5, E = 6;
    const shape = { N, M, H, G, D, E };
    const { q, k, v } = inputs(shape, 8);
    const want = decode(engine, q, k, v, shape);
    // [G, capacity, width + 3], everything between and behind is NaN.
    const spread = (x: Float32Array, width: number) => {
      const y = new Float32Array(G * 90 * (width + 3)).fill(NaN);
      x.forEach((value, at) => {
        const d = at % width, g = Math.floor(at / width) % G, j = Math.floor(at / width / G);
        y[(g * 90 + j) * (width + 3) + d] = value;
      });
      // The last row ends with its last element.
      return y.slice(0, ((G - 1) * 90 + M) * (width + 3) - 3);
    };
    const got = guarded(engine, (g) => {
      const out_p = g.out(N * H * (E + 1) * 4 - 4), lse_p = g.out(N * H * 4);
      decode_p(engine, {
        ...shape,
        ...{ q_p: g.put(q), k_p: g.put(spread(k, D)), v_p: g.put(spread(v, E)), out_p, lse_p },
        ...{ kToken: D + 3, kHead: 90 * (D + 3), vToken: E + 3, vHead: 90 * (E + 3) },
        ...{ outToken: E + 1, outHead: N * (E + 1) },
      });
      return { out: g.f32(out_p, N * H * (E + 1) - 1), lse: g.f32(lse_p, N * H) };
    });
    expect(bits(got.lse)).toEqual(bits(want.lse));
    got.out.forEach((x, at) => {
      const e = at % (E + 1), i = Math.floor(at / (E + 1)) % N, h = Math.floor(at / (E + 1) / N);
      expect(x).toBe(e < E ? want.out[(i * H + h) * E + e] : NaN);
    });
  });
});

describe("decode", () => {
  it("says what the oracle says", () => {
    const N = 3, M = 130, H = 4, G = 2, D = 8;
    const { q, k, v } = inputs({ N, M, H, G, D }, 9);
    const got = decode(simd, q, k, v, { N, M, H, G, D });
    const tensor = (data: Float32Array, rows: number, heads: number) => ({
      data,
      shape: [1, rows, heads, D],
    });
    const want = attention(tensor(q, N, H), tensor(k, M, G), tensor(v, M, G), {
      ...{ layout: "bnhd", causal: true, align: "bottom-right", lse: true },
    });
    // compare() bounds each element against its own softmax; here 1e-5 tells causal from causal, not bits from bits.
    got.out.forEach((x, at) => near(x, want.out.data[at] as number, 1e-5, "out"));
    got.lse.forEach((x, at) => near(x, want.lse!.data[at] as number, 1e-5, "lse"));
  });

  it("refuses what does not fit", () => {
    const shape = { N: 1, M: 2, H: 3, G: 2, D: 4 };
    const x = (n: number) => new Float32Array(n);
    expect(() => decode(simd, x(12), x(16), x(16), shape)).toThrow(
      new RangeError("G: expected a divisor of H=3, got 2"),
    );
    expect(() => decode(simd, x(12), x(7), x(8), { ...shape, G: 1 })).toThrow(
      new RangeError("k: expected [2,1,4] = 8 elements, got 7"),
    );
    expect(() => decode(simd, x(12), x(8), x(8), { ...shape, G: 1, ranges: Int32Array.of(0, 3) })).toThrow(
      new RangeError("ranges: expected 0 ≤ key ≤ M=2, got 3"),
    );
  });

  it("has scalar twins with the same bits", () => {
    for (const [H, G, N, D, E] of [[1, 1, 1, 67, 67], [4, 1, 1, 64, 130], [6, 2, 3, 13, 9]]) {
      const shape = { N, M: SPLIT + 77, H, G, D, E };
      const { q, k, v } = inputs(shape, 10);
      const a = decode(simd, q, k, v, shape), b = decode(scalar, q, k, v, shape);
      expect(bits(a.out)).toEqual(bits(b.out));
      expect(bits(a.lse)).toEqual(bits(b.lse));
    }
  });
});

describe("decode_f32", () => {
  const M = 150, D = 6;

  /** A task by hand: what decode_p has no option for yet, the kernel takes as the forward does. */
  function kernel(R: number, { q, k, v }: Inputs, more: {
    mask?: Uint8Array;
    bias?: Float32Array;
    slopes?: Float32Array;
    bounds?: number[];
    sinks?: Float32Array;
  }): { out: Float32Array; lse: Float32Array } {
    const { kernels, arena } = simd;
    const mark = arena.mark();
    const rows = [0, 1, 2, 3].map((r) => Math.min(r, R - 1));
    const put = (x: Float32Array | Int32Array | Uint8Array) => {
      const at = arena.alloc(x.byteLength);
      arena.u8(at, x.byteLength).set(new Uint8Array(x.buffer, x.byteOffset, x.byteLength));
      return at;
    };
    const perRow = (x: Float32Array | Uint8Array) => {
      const size = x.BYTES_PER_ELEMENT * M, at = put(x);
      return put(Int32Array.from(rows, (r) => at + r * size));
    };
    const packed_p = arena.alloc(4 * 2 * 16);
    kernels.pack_q_rows_f32(put(q), packed_p, R, 1, D, D, D, 1);
    const [m_p, l_p, lse_p, scratch_p] = [16, 16, 16, kernels.decode_scratch()].map((n) => arena.alloc(n));
    const o_p = arena.alloc(4 * 32), out_p = arena.alloc(4 * 32), task_p = arena.alloc(TASK_BYTES);
    const fields = {
      ...{
        q_p: packed_p,
        k_p: put(k),
        v_p: put(v),
        poison_p: 0,
        m_p,
        l_p,
        o_p,
        out_p,
        lse_p,
        scratch_p,
      },
      ...{ bounds_p: put(Int32Array.from(rows.flatMap(() => more.bounds ?? [0, M, 0, M - 1]))) },
      ...{
        rows: R,
        D,
        E: D,
        strips: 1,
        key0: 0,
        keys: M,
        flags: FIRST | SCORES | SINK_IN_LSE,
      },
      ...{ slope_p: more.slopes ? put(Float32Array.from(rows, (r) => more.slopes![r])) : 0 },
      ...{ bias_p: more.bias ? perRow(more.bias) : 0, bias_step: 1 },
      ...{
        mask_p: more.mask ? perRow(more.mask) : 0,
        mask_step: 1,
        sink_p: more.sinks ? put(more.sinks) : 0,
      },
    };
    // All allocated: views may be made.
    arena.i32(task_p, TASK_BYTES / 4).fill(0);
    for (const [name, x] of Object.entries(fields)) {
      arena.i32(task_p, TASK_BYTES / 4)[word[name as keyof typeof fields]] = x;
    }
    for (const [name, x] of Object.entries({ c: 1.4426950408889634, scale: 0.5, unscale: 1, keep: 1 })) {
      arena.f32(task_p, TASK_BYTES / 4)[word[name as "c"]] = x;
    }
    kernels.decode_f32(task_p, D, D, 0);
    kernels.finish_f32(task_p);
    const result = { out: arena.f32(out_p, R * D).slice(), lse: arena.f32(lse_p, R).slice() };
    arena.release(mark);
    return result;
  }

  it.each([1, 2, 3, 4])("takes masks, bias, ALiBi, sink tokens and sinks of %i rows", (R) => {
    const data = inputs({ N: 1, M, H: R, G: 1, D }, R);
    const next = gaussian(R + 50);
    const mask = Uint8Array.from({ length: R * M }, () => next() > -0.3 ? 1 : 0);
    const bias = floats(R * M, () => next() > 1 ? -Infinity : next());
    const slopes = floats(R, () => 0.01 + Math.abs(next())), sinks = floats(R, next);
    const tensor = (x: Float32Array, rows: number) => ({ data: x, shape: [1, x.length / rows / D, rows, D] });
    for (
      const [options, more] of [
        [{ mask: { data: mask, dtype: "bool", shape: [1, R, 1, M] } }, { mask }],
        [{ bias: { data: bias, shape: [1, R, 1, M] } }, { bias }],
        [{ alibiSlopes: slopes, causal: true }, { slopes }],
        [{ sink: sinks }, { sinks }],
        [{ window: [40, 0], sinkTokens: 3, causal: true }, { bounds: [M - 41, M, 3, M - 1] }],
        [{
          window: [40, 0],
          sinkTokens: 70,
          causal: true,
          mask: { data: mask, dtype: "bool", shape: [1, R, 1, M] },
        }, {
          ...{ mask, bounds: [M - 41, M, 70, M - 1] },
        }],
      ] as [AttentionOptions, Parameters<typeof kernel>[2]][]
    ) {
      // V of what the masks hide must not be read.
      const seen = (j: number) =>
        !more.mask || Array.from({ length: R }, (_, r) => mask[r * M + j]).some((x) => x);
      const v = data.v.map((x, at) => seen(Math.floor(at / D)) ? x : NaN);
      const got = kernel(R, { ...data, v }, more);
      const want = attention(tensor(data.q, R), tensor(data.k, 1), tensor(data.v, 1), {
        ...{ layout: "bnhd", align: "bottom-right", scale: 0.5, lse: true },
        ...options,
      });
      // Scores stay below 32, weights err by less than (32·D + 200)·u, |v| < 4: three times 4·400·u.
      got.out.forEach((x, at) =>
        near(x, want.out.data[at] as number, 3e-4, `out ${Object.keys(options)} ${at}`)
      );
      got.lse.forEach((x, at) => near(x, want.lse!.data[at] as number, 3e-5, `lse ${Object.keys(options)}`));
    }
  });
});

describe("row tiles", () => {
  const { kernels } = simd;
  const WIDTHS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 33, 64, 67];
  const isNaNWord = (b: number) => Number.isNaN(new Float32Array(Int32Array.of(b).buffer)[0]);
  const CASES = [1, 2, 4].flatMap((rows) => [0, 5].map((gap) => [rows, gap]));

  it.each(WIDTHS)("qk over rows of %i has its twin's bits and reads no further", (D) => {
    for (const keys of [1, 2, 3, 4, 5, 7, 8, 9, 31]) {
      for (const [rows, gap] of CASES) {
        const ld = D + gap, length = (keys - 1) * ld + D;
        const q = floats(rows * D, gaussian(D + keys)), k = floats(length, gaussian(D + keys + 1));
        for (let j = 0; j < keys - 1; j++) k.fill(NaN, j * ld + D, (j + 1) * ld);
        const run = (kernel: "qk_f32_rows" | "qk_f32_rows_scalar") =>
          guarded(simd, (g) => {
            const q_p = g.out(Math.ceil(D / 4) * 16 * rows), s_p = g.out(4 * 256 + 16), k_p = g.put(k);
            kernels.pack_q_rows_f32(g.put(q), q_p, rows, 1, D, 0, D, 1);
            kernels[kernel](rows, q_p, k_p, ld * 4, D, keys, s_p, 0);
            return Array.from({ length: rows }, (_, r) => bits(g.f32(s_p + r * 256, keys)));
          });
        const got = run("qk_f32_rows");
        expect(got).toEqual(run("qk_f32_rows_scalar"));
        expect(got.flat().some(isNaNWord)).toBe(false);
      }
    }
  });

  it.each(WIDTHS)("pv over rows of %i has its twin's bits and reads no further", (E) => {
    const ldO = Math.ceil(E / 8) * 32;
    for (const keys of [1, 2, 3, 4, 5, 31]) {
      for (const [rows, gap] of CASES) {
        const ld = E + gap;
        const v = floats((keys - 1) * ld + E, gaussian(E + keys)), p = floats(256, gaussian(E + keys + 1));
        const o = floats(rows * ldO / 4, gaussian(E + keys + 2));
        for (let j = 0; j < keys - 1; j++) v.fill(NaN, j * ld + E, (j + 1) * ld);
        const run = (kernel: "pv_f32_rows" | "pv_f32_rows_scalar") =>
          guarded(simd, (g) => {
            const p_p = g.put(p), v_p = g.put(v), o_p = g.put(o, true);
            kernels[kernel](rows, p_p, v_p, ld * 4, keys, E, o_p, ldO, 0);
            return Array.from({ length: rows }, (_, r) => bits(g.f32(o_p + r * ldO, E)));
          });
        const got = run("pv_f32_rows");
        expect(got).toEqual(run("pv_f32_rows_scalar"));
        expect(got.flat().some(isNaNWord)).toBe(false);
      }
    }
  });

  it("touches nothing behind the last row", () => {
    const { arena } = simd;
    const mark = arena.mark();
    const q_p = arena.alloc(64 * 16), s_p = arena.alloc(2048), o_p = arena.alloc(4 * 256);
    // Rows that end where memory ends: a touch too far traps.
    arena.alloc(2 ** 17);
    for (const width of [1, 4, 20, 61, 64]) {
      for (let keys = 1; keys < 10; keys++) {
        for (const rows of [1, 2, 4]) {
          const end = arena.size - keys * width * 4;
          kernels.qk_f32_rows(rows, q_p, end, width * 4, width, keys, s_p, 0);
          kernels.pv_f32_rows(rows, s_p, end, width * 4, keys, width, o_p, 256, 0);
          // And those that say how many rows follow.
          const more = keys >> 1;
          kernels.qk_f32_rows(rows, q_p, end, width * 4, width, keys - more, s_p, more);
          kernels.pv_f32_rows(rows, s_p, end, width * 4, keys - more, width, o_p, 256, more);
        }
      }
    }
    arena.release(mark);
  });
});
