/**
 * Tile kernels against straightforward float64 code and against their scalar twins, at every edge of a tile.
 *
 * Tolerance: a float32 sum of D products in any order errs by at most γ = D·ε·Σ|a·b|, ε = 2^-24, to first order
 * (D − 1 additions and one rounding of each product); (D + 1) covers the second order.
 */
import { describe, expect, it } from "vitest";
import { dropoutDraw, dropoutRow, dropoutThreshold } from "../src/dropout.ts";
import type { GemmTile } from "../src/wasm/exports.ts";
import { deterministicFull as deterministic } from "../src/wasm/full.ts";
import { instantiate } from "../src/wasm/load.ts";

const engine = instantiate(deterministic);
const { arena, kernels } = engine;
const EPS = 2 ** -24;
const CANARY = 0x7fa5a5a5;
const GUARD = 16;
/** Of assembly/tile/gemm_f32_4x8.ts. */
const ZEROS = 32768;

const WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 16, 40, 59, 64, 80, 128];

/** xorshift32: the same numbers everywhere; roughly Gaussian (sum of four uniforms). */
function random(seed: number): () => number {
  let x = seed | 1;
  const uniform = () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32 - 0.5;
  };
  return () => 2 * (uniform() + uniform() + uniform() + uniform());
}

const fill = (n: number, next: () => number) => Float32Array.from({ length: n }, next);

/** A block of n floats with canaries on both sides. */
function guarded(n: number): { at: number; check: () => void } {
  const block = arena.alloc((n + 2 * GUARD) * 4);
  arena.i32(block, n + 2 * GUARD).fill(CANARY);
  const check = () => {
    const words = arena.i32(block, n + 2 * GUARD);
    for (let i = 0; i < GUARD; i++) {
      if (words[i] !== CANARY || words[GUARD + n + i] !== CANARY) {
        throw new Error(`canary ${i} was overwritten`);
      }
    }
  };
  return { at: block + GUARD * 4, check };
}

function put(data: Float32Array): number {
  const at = arena.alloc(data.length * 4);
  arena.f32(at, data.length).set(data);
  return at;
}

function inArena(f: () => void): void {
  const mark = arena.mark();
  try {
    f();
  } finally {
    arena.release(mark);
  }
}

describe("pack", () => {
  for (const D of WIDTHS) {
    for (const rows of [1, 3, 4, 5, 7, 8, 9, 17]) {
      it(`puts ${rows} rows of ${D} where the tiles look for them`, () =>
        inArena(() => {
          const ld = D + 3;
          const x = fill(rows * ld, random(D * 100 + rows));
          const src = put(x);
          for (const width of [4, 8]) {
            const strips = Math.ceil(rows / width);
            const blocks = Math.ceil(D / 64);
            const length = strips * width * (width === 4 ? blocks * 64 : D);
            const out = guarded(length);
            if (width === 4) kernels.pack_q_f32(src, ld, rows, D, out.at, -1);
            else kernels.pack_k_f32(src, ld, rows, D, out.at);
            const got = arena.f32(out.at, length);
            for (let i = 0; i < strips * width; i++) {
              for (let d = 0; d < D; d++) {
                const want = i < rows ? x[i * ld + d]! * (width === 4 ? -1 : 1) : 0;
                const at = width === 4
                  ? (((i >> 2) * blocks + (d >> 6)) * 4 + (i & 3)) * 64 + (d & 63)
                  : ((i >> 3) * D + d) * 8 + (i & 7);
                expect(got[at]! + 0).toBe(want + 0);
              }
            }
            out.check();
          }
        }));
    }
  }

  for (const E of WIDTHS) {
    it(`packs values of width ${E} in slices`, () =>
      inArena(() => {
        const rows = 131, ld = E + 1, strips = Math.ceil(E / 8);
        const x = fill(rows * ld, random(E));
        const src = put(x);
        const out = guarded(Math.ceil(rows / 64) * strips * 64 * 8);
        for (const [first, count] of [[0, 1], [1, 62], [63, 66], [129, 2]] as const) {
          kernels.pack_v_f32(src + first * ld * 4, ld, count, E, out.at, first, 0.25);
        }
        const got = arena.f32(out.at, Math.ceil(rows / 64) * strips * 64 * 8);
        for (let j = 0; j < rows; j++) {
          for (let e = 0; e < strips * 8; e++) {
            const at = ((Math.floor(j / 64) * strips + Math.floor(e / 8)) * 64 + (j % 64)) * 8 + (e % 8);
            expect(got[at]).toBe(e < E ? x[j * ld + e]! * 0.25 : 0);
          }
        }
        out.check();
      }));
  }

  it("finds the largest magnitude, ∞ and NaN wherever they are, also while it packs values", () =>
    inArena(() => {
      const bits = (x: number) => new Int32Array(new Float32Array([x]).buffer)[0]!;
      const largest = (x: Float32Array, E: number) => {
        const src = put(x);
        const found = kernels.max_bits_f32(src, E, 3, E);
        // Of the rows as they come, not times what they are packed with.
        expect(kernels.pack_v_f32(src, E, 3, E, guarded(Math.ceil(E / 8) * 512).at, 0, 0.25)).toBe(found);
        return found;
      };
      for (const E of [1, 7, 8, 9, 64]) {
        for (let at = 0; at < 3 * E; at++) {
          const x = fill(3 * E, random(at + 1));
          x[at] = -9;
          expect(largest(x, E)).toBe(bits(9));
          x[at] = -Infinity;
          expect(largest(x, E)).toBe(bits(Infinity));
          x[at] = NaN;
          expect(largest(x, E)).toBeGreaterThan(bits(Infinity));
        }
      }
    }));
});

describe("gemm_f32_4x8()", () => {
  /** S of 4 queries and keys, 64 of D at a time as ops/forward.ts has it. */
  const scores = (
    tile: GemmTile,
    qp: number,
    kp: number,
    D: number,
    strips: number,
    s: number,
    top: number,
  ) => {
    for (let d = 0; d < D; d += 64) {
      const last = d + 64 >= D;
      tile(
        ...[qp + d * 16, kp + d * 32, Math.min(D - d, 64), strips, D * 32] as const,
        ...[s, strips * 32, d === 0 ? ZEROS - s : 0, last ? top : 0] as const,
      );
    }
  };

  for (const D of WIDTHS) {
    for (const strips of [1, 2, 3, 8]) {
      it(`scores, D=${D}, ${strips} strips: float64 within (D+1)·ε·Σ|qk|, the scalar twin's bits`, () =>
        inArena(() => {
          const next = random(D * 10 + strips);
          const keys = strips * 8;
          const q = fill(4 * D, next), k = fill(keys * D, next);
          const qp = arena.alloc(Math.ceil(D / 64) * 1024), kp = arena.alloc(keys * D * 4);
          kernels.pack_q_f32(put(q), D, 4, D, qp, 1);
          kernels.pack_k_f32(put(k), D, keys, D, kp);
          const simd = guarded(4 * keys), scalar = guarded(4 * keys);
          const tops = guarded(16), twinTops = guarded(16);
          scores(kernels.gemm_f32_4x8, qp, kp, D, strips, simd.at, tops.at);
          scores(kernels.gemm_f32_4x8_scalar, qp, kp, D, strips, scalar.at, twinTops.at);
          const s = arena.f32(simd.at, 4 * keys);
          for (let i = 0; i < 4; i++) {
            for (let j = 0; j < keys; j++) {
              let want = 0, mass = 0;
              for (let d = 0; d < D; d++) {
                const term = q[i * D + d]! * k[j * D + d]!;
                want += term;
                mass += Math.abs(term);
              }
              expect(Math.abs(s[i * keys + j]! - want)).toBeLessThanOrEqual((D + 1) * EPS * mass);
            }
          }
          expect(s).toEqual(arena.f32(scalar.at, 4 * keys));
          // The largest of each row, lane by lane.
          const largest = Float32Array.from({ length: 16 }, (_, x) => {
            const lane = Array.from({ length: keys / 4 }, (_, n) => s[(x >> 2) * keys + n * 4 + (x & 3)]!);
            return Math.max(...lane);
          });
          expect(arena.f32(tops.at, 16)).toEqual(largest);
          expect(arena.f32(twinTops.at, 16)).toEqual(largest);
          // Again, over what is there: from 0.
          scores(kernels.gemm_f32_4x8, qp, kp, D, strips, simd.at, 0);
          expect(s).toEqual(arena.f32(scalar.at, 4 * keys));
          for (const block of [simd, scalar, tops, twinTops]) block.check();
        }));
    }
  }

  it("leaves NaN out of the largest of a row, wherever it stands", () =>
    inArena(() => {
      for (let at = 0; at < 16; at++) {
        const q = new Float32Array(4).fill(1), k = Float32Array.from({ length: 16 }, (_, j) => j - 20);
        k[at] = NaN;
        const tops = guarded(16), twinTops = guarded(16), s = guarded(64);
        const qp = arena.alloc(1024), kp = arena.alloc(64);
        kernels.pack_q_f32(put(q), 1, 4, 1, qp, 1);
        kernels.pack_k_f32(put(k), 1, 16, 1, kp);
        scores(kernels.gemm_f32_4x8, qp, kp, 1, 2, s.at, tops.at);
        scores(kernels.gemm_f32_4x8_scalar, qp, kp, 1, 2, s.at, twinTops.at);
        const lanes = [0, 1, 2, 3].map((lane) => lane + 12 === at ? lane - 12 : lane - 8);
        expect([...arena.f32(tops.at, 16)]).toEqual([...lanes, ...lanes, ...lanes, ...lanes]);
        expect(arena.f32(twinTops.at, 16)).toEqual(arena.f32(tops.at, 16));
      }
    }));

  for (const E of WIDTHS) {
    for (const keys of [1, 2, 3, 4, 5, 7, 13, 63, 64]) {
      it(`values, E=${E}, ${keys} keys: float64 within (keys+1)·ε·Σ|pv|, the scalar twin's bits`, () =>
        inArena(() => {
          const next = random(E * 100 + keys);
          const strips = Math.ceil(E / 8), Ep = strips * 8;
          const p = fill(4 * 64, next), v = fill(keys * E, next), o = fill(4 * Ep, next);
          const pp = put(p), vp = arena.alloc(strips * 2048);
          kernels.pack_v_f32(put(v), E, keys, E, vp, 0, 1);
          const simd = guarded(4 * Ep), scalar = guarded(4 * Ep);
          arena.f32(simd.at, 4 * Ep).set(o);
          arena.f32(scalar.at, 4 * Ep).set(o);
          kernels.gemm_f32_4x8(pp, vp, keys, strips, 2048, simd.at, Ep * 4, 0, 0);
          kernels.gemm_f32_4x8_scalar(pp, vp, keys, strips, 2048, scalar.at, Ep * 4, 0, 0);
          const got = arena.f32(simd.at, 4 * Ep);
          for (let i = 0; i < 4; i++) {
            for (let e = 0; e < E; e++) {
              let want = o[i * Ep + e]!, mass = Math.abs(want);
              for (let j = 0; j < keys; j++) {
                const term = p[i * 64 + j]! * v[j * E + e]!;
                want += term;
                mass += Math.abs(term);
              }
              expect(Math.abs(got[i * Ep + e]! - want)).toBeLessThanOrEqual((keys + 1) * EPS * mass);
            }
          }
          expect(got).toEqual(arena.f32(scalar.at, 4 * Ep));
          simd.check();
          scalar.check();
        }));
    }
  }
});

describe("drop_f32_64()", () => {
  for (const p of [0, 0.1, 0.5, 0.999]) {
    it(`p=${p}: drops what the generator drops, nothing else, as its twin`, () =>
      inArena(() => {
        const next = random(7);
        const threshold = dropoutThreshold(p);
        for (let n = 0; n < 200; n++) {
          const row = dropoutRow(n * 2 ** 33 - n, n % 7, n % 5, n * 1000);
          const j0 = (n % 3 ? n * 64 : 2 ** 30 - 64 * n) & ~63;
          const from = 4 * (n % 4), to = 64 - 4 * (n % 5);
          const x = fill(64, next);
          const simd = guarded(64), scalar = guarded(64);
          arena.f32(simd.at, 64).set(x);
          arena.f32(scalar.at, 64).set(x);
          kernels.drop_f32_64(simd.at, j0, from, to, row.k0, row.k1, threshold);
          kernels.drop_f32_64_scalar(scalar.at, j0, from, to, row.k0, row.k1, threshold);
          const want = x.map((y, j) => j >= from && j < to && dropoutDraw(row, j0 + j) < threshold ? 0 : y);
          expect(arena.f32(simd.at, 64)).toEqual(want);
          expect(arena.f32(scalar.at, 64)).toEqual(want);
          simd.check();
          scalar.check();
        }
      }));
  }
});
