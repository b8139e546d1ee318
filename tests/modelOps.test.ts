/**
 * linear, rmsnorm, rotary, silu, add against the float64 reference, on every engine: both builds, SIMD and scalar
 * twins; u = 2^-24 is the unit roundoff and each tolerance is derived where it stands.
 */
import { describe, expect, it } from "vitest";
import { decodeBFloat16, decodeFloat16 } from "../src/dtype.ts";
import { linear, linear_p, packedBytes, packWeights, packWeights_p } from "../src/ops/linear.ts";
import { rmsnorm, rmsnorm_p } from "../src/ops/rmsnorm.ts";
import { rotary, rotary_p } from "../src/ops/rotary.ts";
import { add, silu, silu_p } from "../src/ops/silu.ts";
import * as reference from "../src/reference/linear.ts";
import { rmsnorm as rmsnorm64 } from "../src/reference/rmsnorm.ts";
import { rotary as rotary64 } from "../src/reference/rotary.ts";
import { add as add64, silu as silu64 } from "../src/reference/silu.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";
import { deterministicFull as deterministic, relaxedFull as relaxed } from "../src/wasm/full.ts";
import { type Engine, instantiate } from "../src/wasm/load.ts";
import { scalarEngine, TABLE } from "../src/wasm/table.ts";
import { floats, gaussian, guarded } from "./support/guard.ts";

const U = 2 ** -24;
const simd = instantiate(deterministic);
const scalar = scalarEngine(simd);
const ENGINES: [string, Engine][] = [["deterministic", simd], ["scalar", scalar]];
if (hasRelaxedSimd()) ENGINES.push(["relaxed", instantiate(relaxed)]);

const bits = (x: Float32Array) => Array.from(new Int32Array(x.buffer, x.byteOffset, x.length));

function expectWithin(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  bound: (i: number) => number,
  title: string,
): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < got.length; i++) {
    if (Number.isNaN(want[i]!) && Number.isNaN(got[i]!)) continue;
    const error = Math.abs(got[i]! - want[i]!);
    if (!(error <= bound(i))) {
      expect.fail(`${title}[${i}]: got ${got[i]}, want ${want[i]}, error ${error} > ${bound(i)}`);
    }
  }
}

describe("kernel table", () => {
  it("names exports that exist, and every scalar twin of the model's kernels", () => {
    const rows = new Set<string>();
    for (const row of TABLE) {
      expect(simd.kernels[row.simd], row.name).toBeTypeOf("function");
      expect(simd.kernels[row.scalar], row.name).toBeTypeOf("function");
      expect(row.scalar).not.toBe(row.simd);
      rows.add(row.scalar);
    }
    for (const name of ["linear", "rmsnorm", "rotary", "silu", "add"]) {
      expect(rows).toContain(`${name}_f32_scalar`);
    }
  });
});

describe.each(ENGINES)("linear, %s", (_, engine) => {
  const ROWS = [0, 1, 2, 3, 4, 5, 8, 9, 31];
  const WIDTHS = [0, 1, 7, 8, 9, 15, 16, 17, 24, 37];
  const DEPTHS = [0, 1, 2, 3, 4, 5, 8, 13, 67];
  it.each(DEPTHS)("sums %i products within (depth + 1)·u·Σ|x·w|, at every edge of a tile", (inDim) => {
    for (const rows of ROWS) {
      for (const outDim of WIDTHS) check(engine, rows, inDim, outDim);
    }
  });

  it("crosses panels of X", () => {
    check(engine, 131, 16, 17);
    check(engine, 130, 1025, 19);
    check(engine, 7, 33000, 9);
  });

  it("reads and writes rows at a distance and leaves what lies between", () => {
    const rows = 6, inDim = 5, outDim = 11, xStride = 9, outStride = 13;
    const x = floats((rows - 1) * xStride + inDim, gaussian(1)), w = floats(outDim * inDim, gaussian(2));
    const dense = floats(rows * inDim, () => 0).map((_, i) =>
      x[Math.floor(i / inDim) * xStride + i % inDim]!
    );
    const want = linear(engine, dense, w, { rows, inDim, outDim });
    const got = guarded(engine, (g) => {
      const w_p = packWeights(engine, w, outDim, inDim);
      const x_p = g.put(x), y_p = g.out(((rows - 1) * outStride + outDim) * 4);
      linear_p(engine, x_p, w_p, y_p, rows, inDim, outDim, xStride, outStride);
      return g.f32(y_p, (rows - 1) * outStride + outDim);
    });
    got.forEach((y, i) => {
      const c = i % outStride, r = Math.floor(i / outStride);
      expect(y).toBe(c < outDim ? want[r * outDim + c] : NaN);
    });
  });

  it("gives a row the same bits alone and among others", () => {
    const inDim = 77,
      outDim = 29,
      x = floats(23 * inDim, gaussian(3)),
      w = floats(outDim * inDim, gaussian(4));
    const all = linear(engine, x, w, { rows: 23, inDim, outDim });
    for (const rows of [1, 2, 5]) {
      const part = linear(engine, x.slice(4 * inDim, (4 + rows) * inDim), w, { rows, inDim, outDim });
      expect(bits(part)).toEqual(bits(all.slice(4 * outDim, (4 + rows) * outDim)));
    }
  });

  it("keeps NaN and ∞ in their rows", () => {
    const inDim = 9, outDim = 10;
    for (const rows of [1, 6]) {
      const x = floats(rows * inDim, gaussian(5)), w = floats(outDim * inDim, gaussian(6));
      x[3] = NaN;
      const y = linear(engine, x, w, { rows, inDim, outDim });
      y.forEach((v, i) => expect(Number.isNaN(v)).toBe(i < outDim));
    }
  });

  it("decodes every float16 and bfloat16 word exactly", () => {
    const words = Uint16Array.from({ length: 65536 }, (_, i) => i);
    for (const [dtype, decode] of [["float16", decodeFloat16], ["bfloat16", decodeBFloat16]] as const) {
      for (const outDim of [65536, 13]) {
        const inDim = outDim === 13 ? 5 : 1, count = outDim * inDim;
        const packed = guarded(engine, (g) => {
          const out_p = g.out(packedBytes(outDim, inDim));
          packWeights_p(engine, g.put(words.slice(0, count)), out_p, outDim, inDim, dtype);
          return g.f32(out_p, packedBytes(outDim, inDim) / 4);
        });
        for (let i = 0; i < packed.length; i++) {
          const j = Math.floor(i / (8 * inDim)) * 8 + i % 8, k = Math.floor(i / 8) % inDim;
          if (!Object.is(packed[i], j < outDim ? decode(words[j * inDim + k]!) : 0)) {
            expect.fail(`${dtype} word ${j * inDim + k}: ${packed[i]}`);
          }
        }
      }
    }
  });

  it("refuses what does not fit", () => {
    const x = new Float32Array(6), dims = { rows: 2, inDim: 3, outDim: 4 };
    expect(() => linear(engine, x, new Float32Array(11), dims)).toThrow(
      new RangeError("w: expected [4,3] = 12 elements, got 11"),
    );
    expect(() => linear(engine, x.subarray(1), new Float32Array(12), dims)).toThrow(RangeError);
    expect(() => packWeights(engine, new Uint16Array(12), 4, 3)).toThrow(TypeError);
  });
});

function check(engine: Engine, rows: number, inDim: number, outDim: number): void {
  const seed = rows * 10007 + inDim * 101 + outDim;
  const x = floats(rows * inDim, gaussian(seed)), w = floats(outDim * inDim, gaussian(seed + 1));
  const dims = { rows, inDim, outDim };
  const want = reference.linear(Float64Array.from(x), Float64Array.from(w), dims);
  const size = reference.linear(Float64Array.from(x, Math.abs), Float64Array.from(w, Math.abs), dims);
  const got = guarded(engine, (g) => {
    const packed_p = g.out(packedBytes(outDim, inDim));
    packWeights_p(engine, g.put(w), packed_p, outDim, inDim);
    const x_p = g.put(x), y_p = g.out(rows * outDim * 4);
    linear_p(engine, x_p, packed_p, y_p, rows, inDim, outDim);
    return g.f32(y_p, rows * outDim);
  });
  // depth products and depth − 1 additions that count, in whatever grouping, each ≤ u of a partial sum ≤ Σ|x·w|.
  expectWithin(got, want, (i) => (inDim + 1) * U * size[i]!, `linear ${rows}x${inDim}x${outDim}`);
}

describe.each(ENGINES)("rmsnorm, %s", (_, engine) => {
  // Everything is float64 but the last rounding: ½ ulp ≤ u·|y|, and 2% for the float64 steps; half a denormal step.
  const bound = (want: ArrayLike<number>) => (i: number) => 1.02 * U * Math.abs(want[i]!) + 2 ** -150;
  const run = (x: Float32Array, w: Float32Array, rows: number, dim: number, eps: number) =>
    guarded(engine, (g) => {
      const x_p = g.put(x), y_p = g.out(rows * dim * 4);
      rmsnorm_p(engine, x_p, g.put(w), y_p, rows, dim, eps);
      return g.f32(y_p, rows * dim);
    });

  it.each([0, 1, 2, 3, 4, 5, 7, 8, 9, 64, 191, 192])("is within 0.51 ulp for dim %i", (dim) => {
    for (const rows of [0, 1, 3]) {
      const x = floats(rows * dim, gaussian(dim + 7)), w = floats(dim, gaussian(dim + 8)), eps = 1e-5;
      const want = rmsnorm64(Float64Array.from(x), Float64Array.from(w), { rows, dim, eps });
      const got = run(x, w, rows, dim, eps);
      expectWithin(got, want, bound(want), `rmsnorm ${rows}x${dim}`);
      expect(bits(rmsnorm(engine, x, w, { rows, dim, eps }))).toEqual(bits(got));
    }
  });

  it("does not overflow or underflow where float32 squares would", () => {
    for (const size of [3e38, 1e25, 1e-25, 1e-42]) {
      const dim = 11,
        x = floats(dim, gaussian(9)).map((v) => (v > 0 ? size : -size / 3)),
        w = floats(dim, () => 1);
      const want = rmsnorm64(Float64Array.from(x), Float64Array.from(w), { rows: 1, dim, eps: 0 });
      expectWithin(run(x, w, 1, dim, 0), want, bound(want), `rmsnorm at ${size}`);
    }
  });

  it("keeps NaN in its row", () => {
    const x = floats(15, gaussian(10)), w = floats(5, () => 1);
    x[7] = NaN;
    run(x, w, 3, 5, 1e-5).forEach((y, i) => expect(Number.isNaN(y)).toBe(i >= 5 && i < 10));
  });
});

describe.each(ENGINES)("rotary, %s", (_, engine) => {
  const table = (positions: number, half: number, f: (x: number) => number) =>
    floats(positions * half, () => 0).map((_, i) => f(Math.floor(i / half) / 3 ** (i % half)));

  for (const interleaved of [false, true]) {
    it.each([[1, 0], [2, 2], [5, 4], [8, 8], [10, 10], [16, 6], [64, 64], [80, 26]])(
      `turns heads of %i by their first %i${interleaved ? ", interleaved" : ""}`,
      (width, dims) => {
        const heads = 3, positions = Int32Array.of(5, 0, 11, 5, 2);
        const cos = table(12, dims / 2, Math.cos), sin = table(12, dims / 2, Math.sin);
        const x = floats(5 * heads * width, gaussian(width + dims));
        const options = { positions, heads, width, dims, interleaved };
        const doubles = { cos: Float64Array.from(cos), sin: Float64Array.from(sin), ...options };
        const want = rotary64(Float64Array.from(x), doubles);
        const got = rotary(engine, x, { cos, sin, ...options });
        // Two products and a sum round: u·|a·c| + u·|b·s| + u·|y| ≤ 2u·(|a| + |b|) ≤ 4u·max|x|.
        const largest = Math.max(...x.map(Math.abs));
        expectWithin(got, want, () => 4 * U * largest, `rotary ${width}/${dims}`);
        for (let i = 0; i < x.length; i++) if (i % width >= dims) expect(got[i]).toBe(x[i]);

        // [heads, tokens, width] into rows of width + 3, another memory.
        const tokens = 5, step = width + 3, out = (heads * tokens - 1) * step + width;
        const apart = guarded(engine, (g) => {
          const turned = floats(x.length, () => 0).map((_, i) => {
            const d = i % width, t = Math.floor(i / width) % tokens, h = Math.floor(i / width / tokens);
            return x[(t * heads + h) * width + d]!;
          });
          const out_p = g.out(out * 4);
          rotary_p(engine, {
            ...{
              x_p: g.put(turned),
              out_p,
              cos_p: g.put(cos),
              sin_p: g.put(sin),
              positions_p: g.put(positions),
            },
            ...{ tokens, heads, width, dims, interleaved, tokenStride: width, headStride: tokens * width },
            ...{ outTokenStride: step, outHeadStride: tokens * step },
          });
          return g.f32(out_p, out);
        });
        for (let i = 0; i < out; i++) {
          const d = i % step, t = Math.floor(i / step) % tokens, h = Math.floor(i / step / tokens);
          expect(apart[i]).toBe(d < width ? got[(t * heads + h) * width + d] : NaN);
        }
      },
    );
  }

  it("refuses positions outside the tables and odd dims", () => {
    const options = { cos: new Float32Array(8), sin: new Float32Array(8), heads: 1, width: 4 };
    const x = new Float32Array(4);
    expect(() => rotary(engine, x, { ...options, positions: Int32Array.of(4) })).toThrow(
      new RangeError("positions: expected 0 ≤ p < 4, got 4"),
    );
    expect(() => rotary(engine, x, { ...options, positions: Int32Array.of(-1) })).toThrow(RangeError);
    expect(() => rotary(engine, x, { ...options, positions: Int32Array.of(0), dims: 3 })).toThrow(RangeError);
  });
});

describe.each(ENGINES)("silu and add, %s", (_, engine) => {
  it.each([0, 1, 3, 4, 5, 8, 9, 31])("gate %i elements", (n) => {
    const g = floats(n, gaussian(n + 20)).map((x) => 4 * x), u = floats(n, gaussian(n + 21));
    const want = silu64(Float64Array.from(g), Float64Array.from(u));
    const got = guarded(engine, (b) => {
      const out_p = b.out(n * 4);
      silu_p(engine, b.put(g), b.put(u), out_p, n);
      return b.f32(out_p, n);
    });
    expectWithin(got, want, siluBound(g, u, want), `silu ${n}`);
    expect(bits(silu(engine, g, u))).toEqual(bits(got));
    expect(Array.from(add(engine, g, u))).toEqual(
      Array.from(add64(Float64Array.from(g), Float64Array.from(u)), Math.fround),
    );
  });

  it("holds its bound over all exponents, both signs", () => {
    const g: number[] = [0, -0, 3e38, -3e38, 88.7, -88.7, -87.3, -86, -103, -200];
    for (let e = -149; e < 127; e += 0.37) g.push(2 ** e * 1.1, -(2 ** e) * 1.3);
    const x = Float32Array.from(g), one = x.map(() => 1);
    const want = silu64(Float64Array.from(x), Float64Array.from(one));
    expectWithin(silu(engine, x, one), want, siluBound(x, one, want), "silu");
  });

  it("keeps NaN in its element", () => {
    const y = silu(engine, Float32Array.of(1, NaN, 2, 3, NaN), Float32Array.of(1, 1, NaN, 1, 1));
    expect(Array.from(y, Number.isNaN)).toEqual([false, true, true, false, true]);
    expect(silu(engine, Float32Array.of(Infinity), Float32Array.of(2))[0]).toBe(Infinity);
  });
});

/** assembly/ops/silu.ts derives it; the last term is half a denormal step for each of two products. */
function siluBound(g: Float32Array, u: Float32Array, want: Float64Array): (i: number) => number {
  return (i) => {
    const size = Math.abs(g[i]!);
    return (9 + 1.3 * size) * U * Math.abs(want[i]!) + 2 ** -126 * size * Math.abs(u[i]!) + 2 ** -149;
  };
}

describe("scalar twins", () => {
  it("have the bits of the SIMD kernels in the deterministic build", () => {
    const x = floats(7 * 37, gaussian(30)),
      w = floats(21 * 37, gaussian(31)),
      norm = floats(37, gaussian(32));
    const dims = { rows: 7, inDim: 37, outDim: 21 };
    expect(bits(linear(simd, x, w, dims))).toEqual(bits(linear(scalar, x, w, dims)));
    const rows = { rows: 7, dim: 37, eps: 1e-5 };
    expect(bits(rmsnorm(simd, x, norm, rows))).toEqual(bits(rmsnorm(scalar, x, norm, rows)));
    const gate = x.map((v) => 20 * v), up = w.slice(0, x.length);
    expect(bits(silu(simd, gate, up))).toEqual(bits(silu(scalar, gate, up)));
    expect(bits(add(simd, gate, up))).toEqual(bits(add(scalar, gate, up)));
    const cos = floats(37 * 9, gaussian(33)), sin = floats(37 * 9, gaussian(34));
    for (const interleaved of [false, true]) {
      const turn = {
        cos,
        sin,
        positions: Int32Array.of(8, 1, 3),
        heads: 1,
        width: 80,
        dims: 74,
        interleaved,
      };
      const v = floats(240, gaussian(35));
      expect(bits(rotary(simd, v, turn))).toEqual(bits(rotary(scalar, v, turn)));
    }
  });
});
