/** The tile kernels on data that stays in L1, 256 calls a run, each checked against its scalar twin. */
import type { GemmTile } from "../src/wasm/exports.ts";
import type { Engine } from "../src/wasm/load.ts";
import type { BenchCase } from "./harness.ts";
import { gaussian } from "./inputs.ts";

const CALLS = 256;
/** Of assembly/tile/gemm_f32_4x8.ts. */
const ZEROS = 32768;

export function canaryCase({ kernels }: Engine): BenchCase {
  const steps = 20000;
  return {
    name: "canary",
    flops: 96 * steps,
    run: () => kernels.canary(steps, 0.999, 0.001),
    // x ← x/2 + 1 settles at 2 in each of 48 lanes.
    check: () => {
      const y = kernels.canary(steps, 0.5, 1);
      if (y !== 96) throw new Error(`canary: expected 96, got ${y}`);
    },
  };
}

export function tileCases({ kernels, arena }: Engine, D: number): BenchCase[] {
  const width = Math.ceil(D / 64) * 64;
  const q = arena.alloc(64 * width * 4), kv = arena.alloc(64 * D * 4);
  const s = arena.alloc(1024), state = arena.alloc(32), top = arena.alloc(336), o = arena.alloc(64 * D * 4);
  arena.f32(top, 16).fill(0.25);
  arena.f32(q, 64 * width).set(gaussian(64 * width, 1));
  arena.f32(kv, 64 * D).set(gaussian(64 * D, 2));
  const strips = D / 8;

  /** Both from the same start; sums of at most 128 terms in the relaxed build differ by their rounding. */
  const agree = (twin: () => void, kernel: () => void, at: number, n: number) => {
    arena.f32(at, n).fill(0.25);
    arena.f32(state, 8).fill(0);
    twin();
    const want = arena.f32(at, n).slice();
    arena.f32(at, n).fill(0.25);
    arena.f32(state, 8).fill(0);
    kernel();
    const bound = 256 * 2 ** -24 * want.reduce((a, x) => Math.max(a, Math.abs(x)), 0);
    arena.f32(at, n).forEach((x, i) => {
      if (!(Math.abs(x - want[i]) <= bound)) throw new Error(`element ${i}: ${x}, its twin ${want[i]}`);
    });
  };
  const scores = (tile: GemmTile, q_p: number) => {
    for (let d = 0; d < D; d += 64) {
      tile(
        q_p + d * 16,
        kv + d * 32,
        Math.min(D - d, 64),
        8,
        D * 32,
        s,
        256,
        d === 0 ? ZEROS - s : 0,
        d + 64 < D ? 0 : top,
      );
    }
  };
  const values = (tile: GemmTile, o_p: number) => tile(s, kv, 64, strips, 2048, o_p, D * 4, 0, 0);
  const { gemm_f32_4x8, gemm_f32_4x8_scalar } = kernels;
  return [
    {
      name: `gemm_f32_4x8 S D=${D}`,
      flops: CALLS * 2 * 4 * 64 * D,
      run: () => {
        for (let i = 0; i < CALLS; i++) scores(gemm_f32_4x8, q + (i & 15) * width * 16);
      },
      check: () => agree(() => scores(gemm_f32_4x8_scalar, q), () => scores(gemm_f32_4x8, q), s, 256),
    },
    {
      name: `gemm_f32_4x8 O E=${D}`,
      flops: CALLS * 2 * 4 * 64 * D,
      run: () => {
        for (let i = 0; i < CALLS; i++) values(gemm_f32_4x8, o + (i & 15) * D * 16);
      },
      check: () => agree(() => values(gemm_f32_4x8_scalar, o), () => values(gemm_f32_4x8, o), o, 4 * D),
    },
    {
      name: `softmax_f32_4x64 (Gelement/s)`,
      flops: CALLS * 256,
      run: () => {
        for (let i = 0; i < CALLS; i++) {
          kernels.softmax_f32_4x64(s, 0, 64, 0.1, state, state + 16, o, strips, top);
        }
      },
      check: () =>
        agree(
          () => kernels.softmax_f32_4x64_scalar(s, 0, 64, 0.1, state, state + 16, o, strips, top),
          () => kernels.softmax_f32_4x64(s, 0, 64, 0.1, state, state + 16, o, strips, top),
          s,
          256,
        ),
    },
  ];
}
