/**
 * The kernels of packed codes, tile by tile: nibbles of K against 16-bit lanes, E4M3 of V against the codec, both against
 * their scalar twins, at every edge and with the worst codes; and the fused forward with codes packed and not.
 */
import { describe, expect, it } from "vitest";
import { E4M3 } from "../src/codecs.ts";
import { attention } from "../src/ops/attention.ts";
import { type Recipe, sage } from "../src/precision.ts";
import { createProblem } from "../src/problem.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";
import { deterministicFull, relaxedFull } from "../src/wasm/full.ts";
import { instantiate } from "../src/wasm/load.ts";
import { biased } from "./support/recipes.ts";
import { coin, normal } from "./support/tensors.ts";

const engines = [deterministicFull, ...(hasRelaxedSimd() ? [relaxedFull] : [])].map((build) =>
  instantiate(build)
);
const CANARY = 0x7fa5a5a5;

describe.each(engines.map((engine) => [engine.name, engine] as const))("%s", (_, { arena, kernels }) => {
  /** Floats with a canary behind them. */
  const block = (n: number, values: (at: number) => number = () => 0) => {
    const at = arena.alloc((n + 16) * 4);
    arena.f32(at, n).set(Float32Array.from({ length: n }, (_, x) => values(x)));
    arena.i32(at + n * 4, 16).fill(CANARY);
    return { at, f32: () => arena.f32(at, n).slice(), i32: () => arena.i32(at, n).slice(), n };
  };
  const intact = ({ at, n }: { at: number; n: number }) =>
    expect(Array.from(arena.i32(at + n * 4, 16))).toEqual(new Array(16).fill(CANARY));
  const words = (at: number, n: number) => new Int16Array(arena.memory.buffer, at, n);

  const random = normal(1, [65536]).data;
  const any = (n: number) => Math.max(-7, Math.min(7, Math.round(3 * random[n % 65536])));
  const CODES: [string, (n: number) => number, (n: number) => number][] = [
    ["any codes", any, (n) => any(n + 777)],
    ["all 7", () => 7, () => 7],
    ["7 against −7", () => 7, () => -7],
  ];
  describe.each([1, 2, 15, 16, 17, 32, 33, 40, 64, 288, 4096])("%i pairs", (pairs) => {
    it.each(CODES)("qk_i4_4x32 has the integers of qk_i16_4x16, its twin's bits: %s", (_, q, k) => {
      const mark = arena.mark();
      const n = pairs * 2;
      const [qs, ks] = [block(pairs * 4), block(pairs * 64)];
      words(qs.at, 4 * n).set(Int16Array.from({ length: 4 * n }, (_, at) => q(at)));
      words(ks.at, 64 * n).set(Int16Array.from({ length: 64 * n }, (_, at) => k(at)));
      const [nibbles, lanes, twin] = [block(pairs * 16), block(pairs * 32), block(pairs * 32)];
      kernels.pack_i4(ks.at, nibbles.at, pairs, 2);
      kernels.unpack_i4(nibbles.at, lanes.at, pairs, 2);
      kernels.unpack_i4_scalar(nibbles.at, twin.at, pairs, 2);
      expect(lanes.i32()).toEqual(twin.i32());
      const unit = block(64, (j) => 1 + j / 7);
      const [want, got, same] = [block(256), block(256), block(256)];
      kernels.qk_i16_4x16(qs.at, ks.at, pairs, 4, unit.at, want.at);
      kernels.qk_i4_4x32(qs.at, lanes.at, pairs, 2, unit.at, got.at);
      kernels.qk_i4_4x32_scalar(qs.at, lanes.at, pairs, 2, unit.at, same.at);
      expect(got.f32()).toEqual(want.f32());
      expect(same.f32()).toEqual(want.f32());
      [nibbles, lanes, twin, want, got, same].forEach(intact);
      arena.release(mark);
    });
  });

  it("what lies where a strip has no more keys changes nothing of those it has", () => {
    const mark = arena.mark();
    const pairs = 40;
    const [qs, nibbles, lanes] = [block(pairs * 4), block(pairs * 16), block(pairs * 32)];
    const unit = block(64, () => 1);
    words(qs.at, pairs * 8).fill(-7);
    // Keys of 7, or of −7, and beside them 0, −8, −1, 7.
    for (const key of [7, -7]) {
      for (const beside of [0, -8, -1, 7]) {
        const byte = key & 15 | (beside & 15) << 4;
        words(nibbles.at, pairs * 32).fill(byte | byte << 8);
        kernels.unpack_i4(nibbles.at, lanes.at, pairs, 2);
        const s = block(256);
        kernels.qk_i4_4x32(qs.at, lanes.at, pairs, 2, unit.at, s.at);
        const first = s.f32().filter((_, at) => at % 32 < 16);
        expect(first).toEqual(new Float32Array(128).fill(-7 * key * 2 * pairs));
      }
    }
    arena.release(mark);
  });

  it("pack_v_e4m3 has the codes of the codec: both signs, ties, subnormals, what saturates", () => {
    const mark = arena.mark();
    // Halves between neighbours are the ties; with amax 448 the unit is 1.
    const finite = Array.from({ length: 127 }, (_, code) => E4M3.numbers[code]);
    const between = finite.slice(1).flatMap((x, n) => {
      const half = (x + finite[n]) / 2;
      return [half, half * (1 + 2 ** -22), half * (1 - 2 ** -22)];
    });
    const some = [0, ...finite, ...between, 2 ** -140, 448, 447.9].flatMap((x) => [x, -x]);
    const rows = Math.ceil(some.length / 8);
    const x = block(rows * 8, (at) => some[at] ?? 448);
    const [mean, unit, out] = [block(8), block(8 * Math.ceil(rows / 64), () => 1), block(rows * 2 + 128)];
    kernels.pack_v_e4m3(x.at, 8, rows, 8, out.at, mean.at, 0, unit.at, 0);
    const codes = arena.u8(out.at, rows * 8).slice();
    x.f32().forEach((value, at) => expect(codes[at]).toBe(E4M3.encode(value)));
    intact(out);
    arena.release(mark);
  });

  it.each([[1, 1], [8, 64], [13, 65], [20, 200], [64, 128]])(
    "E4M3 of %i columns, %i rows: codes, units and numbers",
    (E, rows) => {
      const mark = arena.mark();
      const strips = Math.ceil(E / 8), tiles = Math.ceil(rows / 64);
      const data = normal(5, [rows * E]).data;
      const x = block(rows * E + 8, (at) => at < rows * E ? 3 * data[at] : 0);
      const mean = block(strips * 8, (e) => e < E ? e / 8 - 1 : 0);
      const seen = arena.alloc(rows);
      arena.u8(seen, rows).set(Uint8Array.from({ length: rows }, (_, j) => j % 7 === 3 ? 0 : 1));
      const [out, units] = [block(tiles * strips * 128), block(tiles * strips * 8)];
      kernels.pack_v_e4m3(x.at, E, rows, E, out.at, mean.at, seen, units.at, strips * 32);
      const [one, two] = [block(strips * 512), block(strips * 512)];
      for (let tile = 0; tile < tiles; tile++) {
        const [src, unit] = [out.at + tile * strips * 512, units.at + tile * strips * 32];
        kernels.unpack_v_e4m3(src, one.at, strips, unit);
        kernels.unpack_v_e4m3_scalar(src, two.at, strips, unit);
        expect(one.f32()).toEqual(two.f32());
        for (let e = 0; e < E; e++) {
          const at = (j: number) => Math.fround(x.f32()[j * E + e] - mean.f32()[e]);
          const live = Array.from({ length: Math.min(64, rows - tile * 64) }, (_, n) => tile * 64 + n);
          const counted = live.filter((j) => j % 7 !== 3);
          const top = counted.reduce((a, j) => Math.max(a, Math.abs(at(j))), 448 * 2 ** -126);
          expect(arena.f32(unit, E)[e]).toBe(Math.fround(top / 448));
          for (const j of live) {
            const code = counted.includes(j) ? E4M3.round(Math.fround(at(j) / Math.fround(top / 448))) : 0;
            const got = one.f32()[(e >> 3) * 512 + (j & 63) * 8 + (e & 7)];
            expect(got === Math.fround(code * Math.fround(top / 448)), `${e} ${j}`).toBe(true);
          }
        }
      }
      [out, units, one, two].forEach(intact);
      arena.release(mark);
    },
  );
});

describe("the fused forward", () => {
  const own = { granularity: "token", rounding: "half-even", smoothQ: false, pScale: "tile" } as const;
  const RECIPES: [string, Recipe][] = [
    ["int4, P and V int12", sage({ ...own, qk: "int4", pv: "int12", vScale: "tile" })],
    ["int4, V E4M3", sage({ ...own, qk: "int4", pv: "float32/fp8", smoothV: true, vScale: "tile" })],
    ["int8, V E4M3 by head", sage({ ...own, qk: "int8", pv: "float32/fp8" })],
  ];
  const engine = engines[0];
  it.each(RECIPES)("%s: no chunk, panel, block or twin changes a bit", (_, precision) => {
    for (const [D, E] of [[16, 8], [7, 20], [64, 64]]) {
      const [q, k, v] = [
        normal(2, [2, 2, 37, D]),
        biased(normal(3, [2, 1, 333, D]), 4),
        biased(normal(4, [2, 1, 333, E]), 2),
      ];
      for (
        const given of [{}, { causal: true }, { window: [40, 5] as const }, { mask: coin(5, [37, 333], 0.3) }]
      ) {
        const problem = createProblem(q, k, v, { ...given, precision, lse: true });
        const want = attention(engine, problem);
        for (
          const tiles of [{ scalar: true }, { br: 4 }, { panelKeys: 64, chunkRows: 8 }, {
            panelKeys: 192,
            br: 16,
          }]
        ) {
          const got = attention(engine, problem, tiles);
          expect(got.out.data).toEqual(want.out.data);
          expect(got.lse!.data).toEqual(want.lse!.data);
        }
      }
    }
  });

  it("wider than nibbles have room for, codes stay in 16-bit lanes", () => {
    const [q, k, v] = [normal(6, [1, 1, 3, 8193]), normal(7, [1, 1, 5, 8193]), normal(8, [1, 1, 5, 8])];
    const of = (D: number) => {
      const cut = (x: typeof q) => ({ ...x, shape: [1, 1, x.shape[2], D], strides: [0, 0, 8193, 1] });
      const precision = sage({ ...own, qk: "int4", pv: "float32" });
      return attention(engine, createProblem(cut(q), cut(k), v, { precision, scale: 0.01 }));
    };
    expect(of(8192).out.data.every((x) => Math.abs(Number(x)) < 5)).toBe(true);
    expect(of(8193).out.data.every((x) => Math.abs(Number(x)) < 5)).toBe(true);
  });
});
