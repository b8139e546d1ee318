/** Block masks: what they say, that the kernels and the oracle hear it, and that empty and full tiles cost nothing. */
import { describe, expect, it } from "vitest";
import type { ForwardOptions } from "../src/ops/forward.ts";
import type { AttentionOptions } from "../src/options.ts";
import { createProblem } from "../src/problem.ts";
import { forward as reference } from "../src/reference/attention.ts";
import { BlockMask } from "../src/sparse/blockmask.ts";
import type { TensorInput } from "../src/tensor.ts";
import { expectSameBits, inputs, run, type Shape } from "./support/forward.ts";
import { Random } from "./support/random.ts";
import { coin } from "./support/tensors.ts";
import { expectThrow } from "./support/throws.ts";

/** Blocks that are empty, full or neither, a third each. */
function blocky([B, H, N, M]: readonly number[], rows: number, keys: number, seed = 1): TensorInput {
  const random = new Random(seed);
  const data = new Uint8Array(B * H * N * M);
  for (let plane = 0; plane < B * H; plane++) {
    for (let i0 = 0; i0 < N; i0 += rows) {
      for (let j0 = 0; j0 < M; j0 += keys) {
        const kind = random.next() % 3;
        for (let i = i0; i < Math.min(N, i0 + rows); i++) {
          for (let j = j0; j < Math.min(M, j0 + keys); j++) {
            data[(plane * N + i) * M + j] = kind === 0 ? 0 : kind === 1 ? 1 : random.next() & 1;
          }
        }
      }
    }
  }
  return { data, dtype: "bool", shape: [B, H, N, M] };
}

describe("BlockMask", () => {
  for (const [rows, keys] of [[1, 64], [7, 64], [64, 64], [128, 128], [5, 192]]) {
    it(`${rows}×${keys}: says what it was made of`, () => {
      const dense = blocky([2, 3, 33, 450], rows, keys);
      const mask = BlockMask.fromTensor(dense, undefined, { rows, keys });
      expect(mask.toTensor().data).toEqual(dense.data);
      const at = (b: number, h: number, i: number, j: number) =>
        (dense.data as Uint8Array)[((b * 3 + h) * 33 + i) * 450 + j] === 1;
      const again = BlockMask.from(at, [2, 3, 33, 450], { rows, keys });
      expect(again).toEqual(mask);
    });
  }

  it("lists hold the blocks that are not empty, those that are full without a bitmap", () => {
    const mask = BlockMask.from((_b, _h, i, j) => j <= i, [1, 1, 200, 200], { rows: 64, keys: 64 });
    expect(Array.from(mask.starts)).toEqual([0, 1, 3, 6, 10]);
    expect(Array.from(mask.blocks)).toEqual([0, 0, 1, 0, 1, 2, 0, 1, 2, 3]);
    expect(Array.from(mask.parts)).toEqual([0, -1, 1, -1, -1, 2, -1, -1, -1, 3]);
    expect(mask.density).toEqual({ visited: 10 / 16, full: 6 / 16 });
    // 8 rows see all of the last 8 keys' block but for the diagonal; a block at the edge may be full.
    const edge = BlockMask.from(() => true, [1, 1, 70, 70]);
    expect(Array.from(edge.parts)).toEqual([-1, -1, -1, -1]);
  });

  it("comes from FlexAttention's lists", () => {
    const int = (shape: number[], data: number[]) => ({ data: Int32Array.from(data), shape });
    const mask = BlockMask.fromLists({
      shape: [1, 2, 100, 300],
      rows: 50,
      full: { counts: int([1, 2, 2], [1, 0, 2, 1]), indices: int([1, 2, 2, 2], [4, 0, 0, 0, 3, 1, 2, 9]) },
      partial: { counts: int([1, 2, 2], [1, 0, 0, 1]), indices: int([1, 2, 2, 1], [0, 0, 0, 4]) },
      maskMod: (_b, _h, i, j) => (i + j) % 2 === 0,
    });
    const full = new Set(["0,0,4", "1,0,3", "1,0,1", "1,1,2"]), some = new Set(["0,0,0", "1,1,4"]);
    const { data } = mask.toTensor();
    for (let x = 0; x < data.length; x++) {
      const j = x % 300, i = Math.floor(x / 300) % 100, h = Math.floor(x / 30000);
      const block = [h, Math.floor(i / 50), j >> 6].join();
      expect(data[x]).toBe(full.has(block) || (some.has(block) && (i + j) % 2 === 0) ? 1 : 0);
    }
    const all = BlockMask.fromLists({
      shape: [1, 1, 64, 64],
      partial: { counts: int([1, 1, 1], [1]), indices: int([1, 1, 1, 1], [0]) },
    });
    expect(all.density).toEqual({ visited: 1, full: 1 });
  });

  it("refuses what it cannot be", () => {
    const int = (shape: number[], ...data: number[]) => ({ data: Int32Array.from(data), shape });
    const lists = (counts: TensorInput, indices: TensorInput) =>
      BlockMask.fromLists({ shape: [1, 1, 64, 128], full: { counts, indices } });
    const rows: [() => unknown, typeof TypeError | typeof RangeError, string][] = [
      [() => BlockMask.from(1 as never, [1, 1, 1, 1]), TypeError, "maskMod: expected a function, got 1"],
      [() => BlockMask.from(() => true, [1, 1, 1]), RangeError, "shape: expected [B,H,N,M], got Array"],
      [() => BlockMask.from(() => true, [1, 1, 1, -1]), RangeError, "shape: expected an integer"],
      [
        () => BlockMask.from(() => true, [1, 1, 1, 1], { keys: 32 }),
        RangeError,
        "keys: expected a multiple of 64",
      ],
      [
        () => BlockMask.from(() => true, [1, 1, 1, 1], { keys: 0 }),
        RangeError,
        "keys: expected a multiple of 64",
      ],
      [() => BlockMask.from(() => true, [1, 1, 1, 1], { rows: 0 }), RangeError, "rows: expected at least 1"],
      [
        () => BlockMask.fromTensor({ data: new Float32Array(4), shape: [2, 2] }),
        TypeError,
        'mask: expected dtype "bool"',
      ],
      [
        () => BlockMask.fromTensor(coin(1, [3], 1)),
        RangeError,
        "mask: expected [B,H,N,M], [H,N,M] or [N,M], got [3]",
      ],
      [
        () => BlockMask.fromTensor(coin(1, [2, 3], 1), [1, 1, 2, 4]),
        RangeError,
        "mask: expected a shape that",
      ],
      [
        () => lists(int([1, 1], 1), int([1, 1, 1, 1], 0)),
        RangeError,
        "full.counts: expected [B,H,R] with [1,1,1]",
      ],
      [
        () => lists(int([1, 1, 1], 1), int([1, 1, 2, 1], 0, 0)),
        RangeError,
        "full.indices: expected [B,H,R,C]",
      ],
      [
        () => lists(int([1, 1, 1], 2), int([1, 1, 1, 1], 0)),
        RangeError,
        "full.counts[0]: expected from 0 to 1",
      ],
      [
        () => lists(int([1, 1, 1], 1), int([1, 1, 1, 1], 2)),
        RangeError,
        "full.indices: expected blocks from 0 to 1, got 2",
      ],
      [
        () => lists(int([1, 1, 1], 2), int([1, 1, 1, 2], 1, 1)),
        RangeError,
        "indices: expected each block once",
      ],
      [
        () => lists(int([1, 1, 1], 1), int([1, 1, 1, 2], 1)),
        RangeError,
        "full: expected data for the shapes",
      ],
      [
        () => lists([1] as never, int([1, 1, 1, 1], 0)),
        TypeError,
        "full.counts: expected a tensor of integers",
      ],
    ];
    for (const [f, Class, message] of rows) {
      expect(f).toThrow(Class);
      expect(f).toThrow(message);
    }
    const mask = BlockMask.from(() => true, [1, 2, 3, 4]);
    for (const shape of [{ N: 3, M: 4, H: 1 }, { N: 4, M: 4, H: 2 }, { N: 3, M: 3, H: 2 }]) {
      expectThrow(
        () => createProblem(...inputs({ ...shape, D: 4 }), { mask }),
        RangeError,
        `mask: expected a BlockMask of [B,H,N,M] = [1,${shape.H},${shape.N},${shape.M}], got [1,2,3,4]`,
      );
    }
    const x = { data: new Float32Array(8), shape: [2, 1, 4] };
    const cu = { q: [0, 2], k: [0, 2] };
    expectThrow(
      () => createProblem(x, x, x, { mask, layout: "thd", cuSeqlens: cu }),
      RangeError,
      'mask: not available with layout "thd"; use "bhnd" per sequence',
    );
  });
});

describe("attention through a block mask", () => {
  const cases: [Shape, number, number, readonly number[], AttentionOptions][] = [
    [{ B: 2, H: 4, G: 2, N: 75, M: 330, D: 8, E: 5 }, 16, 64, [2, 4], {}],
    [{ B: 2, H: 4, G: 2, N: 75, M: 330, D: 8, E: 5 }, 7, 128, [1, 4], { causal: true }],
    [{ B: 2, H: 2, G: 1, N: 130, M: 200, D: 4 }, 64, 64, [2, 1], { window: [60, 20], sinkTokens: 3 }],
    [{ H: 3, N: 70, M: 300, D: 4 }, 5, 64, [1, 3], { softcap: 2, alibiSlopes: [1, 0.5, 0.1], chunk: 100 }],
    [{ B: 2, N: 40, M: 300, D: 4 }, 64, 192, [1, 1], { keyLengths: [300, 100] }],
    [{ N: 9, M: 300, D: 4 }, 2, 64, [1, 1], { dropout: { p: 0.4, seed: 5 }, probabilities: true }],
  ];
  cases.forEach(([shape, rows, keys, [B, H], options], n) => {
    it(`gives the bits of the dense mask, whatever the tiling (${n})`, () => {
      const dense = blocky([B, H, shape.N, shape.M], rows, keys, n + 1);
      const mask = BlockMask.fromTensor(dense, undefined, { rows, keys });
      const want = run(inputs(shape), { ...options, mask: dense });
      const tilings: ForwardOptions[] = [{}, { scalar: true }, { panelKeys: 64 }, {
        panelKeys: 128,
        chunkRows: 12,
      }];
      for (const tiling of tilings) {
        const got = run(inputs(shape), { ...options, mask }, tiling).result;
        expectSameBits(got, want.result);
        expect(got.written).toEqual(want.result.written);
      }
      const oracle = reference(createProblem(...inputs(shape), { ...options, mask, lse: true }));
      expect(oracle).toEqual(reference(want.problem));
    });
  });

  /** Tiles of 4 rows × 64 keys with something to see, and those of them with something to hide. */
  function tilesOf(sees: (i: number, j: number) => boolean, N: number, M: number) {
    const tiles = { visited: 0, masked: 0 };
    for (let i = 0; i < N; i += 4) {
      for (let j = 0; j < M; j += 64) {
        let seen = 0;
        for (let x = i; x < i + 4; x++) for (let y = j; y < j + 64; y++) if (sees(x, y)) seen++;
        if (seen > 0) tiles.visited++;
        if (seen > 0 && seen < 256) tiles.masked++;
      }
    }
    return tiles;
  }

  it("visits no empty tile and masks no full one", () => {
    const N = 128, M = 640;
    const shape = { N, M, D: 4 };
    const dense = blocky([1, 1, N, M], 16, 64, 9);
    const at = (i: number, j: number) => (dense.data as Uint8Array)[i * M + j] === 1;
    const causal = (i: number, j: number) => j <= i + M - N;
    const block = BlockMask.fromTensor(dense, undefined, { rows: 16 });
    const expected = tilesOf(at, N, M);
    expect(expected.visited).toBeLessThan(0.8 * N / 4 * M / 64);
    expect(expected.masked).toBeLessThan(0.6 * expected.visited);
    for (const tiling of [{}, { panelKeys: 128 }, { panelKeys: 64, chunkRows: 20 }]) {
      for (const mask of [dense, block]) {
        expect(run(inputs(shape), { mask }, tiling).result.tiles).toEqual(expected);
        expect(run(inputs(shape), { mask, causal: true }, tiling).result.tiles)
          .toEqual(tilesOf((i, j) => at(i, j) && causal(i, j), N, M));
      }
      expect(run(inputs(shape), { causal: true }, tiling).result.tiles).toEqual(tilesOf(causal, N, M));
      expect(run(inputs(shape), { window: [100, 20] }, tiling).result.tiles)
        .toEqual(tilesOf((i, j) => j >= i + M - N - 100 && j <= i + M - N + 20, N, M));
      expect(run(inputs(shape), {}, tiling).result.tiles).toEqual({ visited: 320, masked: 0 });
    }
  });

  it("streams only the panels that are seen", () => {
    // 2 of 2,048 blocks a row: what is not listed is not even packed, or this would take seconds.
    const N = 256, M = 131072;
    const indices = { data: Int32Array.from([0, 2047, 3, 1000, 5, 6, 7, 8]), shape: [1, 1, 4, 2] };
    const counts = { data: new Int32Array(4).fill(2), shape: [1, 1, 4] };
    const mask = BlockMask.fromLists({ shape: [1, 1, N, M], full: { counts, indices } });
    const { problem, result } = run(inputs({ N, M, D: 8 }), { mask });
    expect(result.tiles).toEqual({ visited: 4 * 2 * 16, masked: 0 });
    const want = reference({
      ...problem,
      q: { ...problem.q, shape: [1, 1, 1, 8] },
      N: 1,
      queryLength: Int32Array.of(1),
    });
    for (let e = 0; e < 8; e++) expect(result.out[e]).toBeCloseTo(Number(want.out.data[e]), 5);
  });
});
