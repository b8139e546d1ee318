/** The integer tiles on data that stays in L1, 256 calls a run, each checked bit for bit against its scalar twin. */
import type { Engine } from "../src/wasm/load.ts";
import type { BenchCase } from "./harness.ts";
import { gaussian } from "./inputs.ts";

const CALLS = 256;

export function integerTileCases({ kernels, arena }: Engine, D: number): BenchCase[] {
  const a = arena.alloc(64 * D * 2), b = arena.alloc(64 * D * 2), p = arena.alloc(1024);
  const units = arena.alloc(Math.max(64, D) * 4), s = arena.alloc(1024), o = arena.alloc(64 * D * 4);
  const state = arena.alloc(160), table = arena.alloc(128);
  const small = arena.alloc(64 * D * 2), nibbles = arena.alloc(64 * D), lanes = arena.alloc(64 * D);
  const values = arena.alloc(64 * D * 4);
  const codes = (at: number, n: number, seed: number, factor: number, limit = 2047) => {
    new Int16Array(arena.memory.buffer, at, n).set(
      gaussian(n, seed).map((x) => Math.max(-limit, Math.min(limit, x * factor))),
    );
  };
  codes(small, 64 * D, 6, 3, 7);
  // Half of them nibbles; as E4M3 all of these bytes are numbers.
  codes(nibbles, 32 * D, 7, 9000, 32767);
  kernels.pack_i4(small, nibbles, D / 2, 2);
  kernels.unpack_i4(nibbles, lanes, D / 2, 2);
  codes(a, 64 * D, 1, 700);
  codes(b, 64 * D, 2, 700);
  codes(p, 512, 3, 700);
  arena.f32(units, Math.max(64, D)).fill(1e-5);
  kernels.exp2_table(table, 1, 12);
  const strips = D / 8;
  const strip = (i: number) => i & 15;
  const scores = gaussian(256, 5);

  /** Of every row of `row` words the first `live`: behind its codes softmax_i16_4x64 leaves what it worked with. */
  const agree = (twin: () => void, kernel: () => void, at: number, n: number, row = 1, live = row) => {
    const both = [twin, kernel].map((run) => {
      arena.f32(at, n).fill(0.25);
      arena.f32(s, 256).set(scores);
      arena.f32(state, 16).fill(0);
      arena.f32(state, 4).fill(1);
      run();
      return arena.i32(at, n).slice();
    });
    both[0].forEach((x, i) => {
      if (i % row < live && both[1][i] !== x) throw new Error(`element ${i}: ${both[1][i]}, its twin ${x}`);
    });
  };
  return [
    {
      name: `qk_i16_4x16 D=${D}`,
      flops: CALLS * 2 * 4 * 64 * D,
      run: () => {
        for (let i = 0; i < CALLS; i++) kernels.qk_i16_4x16(a + strip(i) * D * 8, b, D / 2, 4, units, s);
      },
      check: () =>
        agree(
          () => kernels.qk_i16_4x16_scalar(a, b, D / 2, 4, units, s),
          () => kernels.qk_i16_4x16(a, b, D / 2, 4, units, s),
          s,
          256,
        ),
    },
    {
      name: `qk_i4_4x32 D=${D}`,
      flops: CALLS * 2 * 4 * 64 * D,
      run: () => {
        for (let i = 0; i < CALLS; i++) {
          kernels.qk_i4_4x32(small + strip(i) * D * 8, lanes, D / 2, 2, units, s);
        }
      },
      check: () => {
        agree(
          () => kernels.qk_i4_4x32_scalar(small, lanes, D / 2, 2, units, s),
          () => kernels.qk_i4_4x32(small, lanes, D / 2, 2, units, s),
          s,
          256,
        );
        // The codes themselves, one a lane.
        agree(
          () => kernels.qk_i16_4x16(small, small, D / 2, 4, units, s),
          () => kernels.qk_i4_4x32(small, lanes, D / 2, 2, units, s),
          s,
          256,
        );
      },
    },
    {
      name: `unpack_i4 D=${D} (Gelement/s)`,
      flops: CALLS * 64 * D,
      run: () => {
        for (let i = 0; i < CALLS; i++) kernels.unpack_i4(nibbles, lanes, D / 2, 2);
      },
      check: () =>
        agree(
          () => kernels.unpack_i4_scalar(nibbles, lanes, D / 2, 2),
          () => kernels.unpack_i4(nibbles, lanes, D / 2, 2),
          lanes,
          32 * D / 2,
        ),
    },
    {
      name: `unpack_v_e4m3 E=${D} (Gelement/s)`,
      flops: CALLS * 64 * D,
      run: () => {
        for (let i = 0; i < CALLS; i++) kernels.unpack_v_e4m3(nibbles, values, strips, units);
      },
      check: () =>
        agree(
          () => kernels.unpack_v_e4m3_scalar(nibbles, values, strips, units),
          () => kernels.unpack_v_e4m3(nibbles, values, strips, units),
          values,
          64 * D,
        ),
    },
    {
      name: `pv_i16_4x16 E=${D}`,
      flops: CALLS * 2 * 4 * 64 * D,
      run: () => {
        for (let i = 0; i < CALLS; i++) {
          kernels.pv_i16_4x16(p, b, 32, strips, units, state, o + strip(i) * D * 16, D * 4);
        }
      },
      check: () =>
        agree(
          () => kernels.pv_i16_4x16_scalar(p, b, 32, strips, units, state, o, D * 4),
          () => kernels.pv_i16_4x16(p, b, 32, strips, units, state, o, D * 4),
          o,
          4 * D,
        ),
    },
    {
      name: `softmax_i16_4x64 E=${D} (Gelement/s)`,
      flops: CALLS * 256,
      run: () => {
        for (let i = 0; i < CALLS; i++) {
          kernels.softmax_i16_4x64(s, 0, 64, state, state + 16, state + 32, o, strips, table, state + 48);
        }
      },
      check: () =>
        agree(
          () =>
            kernels.softmax_i16_4x64_scalar(
              s,
              0,
              64,
              state,
              state + 16,
              state + 32,
              o,
              strips,
              table,
              state + 48,
            ),
          () =>
            kernels.softmax_i16_4x64(s, 0, 64, state, state + 16, state + 32, o, strips, table, state + 48),
          s,
          256,
          64,
          32,
        ),
    },
  ];
}
