/** The fused forward against float64, at every edge of a tile, a strip, a chunk and a panel (tests/support/forward.ts). */
import { describe, expect, it } from "vitest";
import { decodeBFloat16, decodeFloat16, encodeBFloat16, encodeFloat16 } from "../src/dtype.ts";
import type { AttentionOptions } from "../src/options.ts";
import type { TensorInput } from "../src/tensor.ts";
import {
  check,
  each,
  expectSame,
  expectSameBits,
  inputs,
  run,
  tensor,
  type Tensors,
  verify,
} from "./support/forward.ts";

const WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 16, 40, 59, 64, 80, 128];

describe("forward() shapes", () => {
  for (const N of [1, 3, 4, 5, 9, 31, 63, 64, 65, 129]) {
    for (const M of [1, 7, 8, 9, 17, 63, 64, 65, 127, 129]) {
      it(`N=${N} M=${M}, open and causal`, () => {
        verify({ N, M, D: 8 });
        verify({ N, M, D: 8 }, { causal: true });
        verify({ N, M, D: 8 }, { causal: true, align: "top-left" });
      });
    }
  }
  for (const D of WIDTHS) {
    for (const E of [1, 5, 8, 64, D]) {
      it(`D=${D} E=${E}`, () => {
        verify({ N: 13, M: 71, D, E });
        verify({ N: 13, M: 71, D, E }, { causal: true });
      });
    }
  }
  it("empty tensors", () => {
    expect(run(inputs({ N: 0, M: 5, D: 4 })).result.out).toHaveLength(0);
    const { out, lse } = run(inputs({ N: 3, M: 0, D: 4 })).result;
    expect(Array.from(out)).toEqual(new Array(12).fill(0));
    expect(Array.from(lse!)).toEqual([-Infinity, -Infinity, -Infinity]);
    expect(run(inputs({ B: 0, N: 3, M: 3, D: 4 })).result.out).toHaveLength(0);
  });
});

describe("forward() of small calls, all heads of a batch at once", () => {
  const shape = { B: 3, H: 4, G: 2, N: 21, M: 83, D: 12, E: 20 };
  const variants: Record<string, AttentionOptions> = {
    open: {},
    causal: { causal: true },
    "keys of each batch": { keyLengths: [83, 0, 64], causal: true },
    "window and softcap": { window: [9, 3], sinkTokens: 2, softcap: 3 },
    "negative scale": { scale: -0.7 },
    "tiny scale": { scale: 1e-20 },
    "windows apart": { window: [[1, 2], [3, 4], [5, 6], [7, 8]] },
    bnhd: { layout: "bnhd" },
  };
  for (const [name, options] of Object.entries(variants)) {
    it(`${name}: what head after head gives, and float64`, () => {
      const { B, H, G, N, M, D, E } = shape;
      const tensors = options.layout === "bnhd"
        ? [tensor([B, N, H, D], 1), tensor([B, M, G, D], 2), tensor([B, M, G, E], 3)] as Tensors
        : inputs(shape);
      const { problem, result } = run(tensors, options);
      check(problem, result);
      for (const forwardOptions of [{ scalar: true }, { panelKeys: 64 }, { chunkRows: 8 }]) {
        expectSameBits(run(tensors, options, forwardOptions).result, result);
      }
    });
  }
  it("batches of which one holds ∞, NaN or what overflows", () => {
    for (const bad of [Infinity, -Infinity, NaN, 3e38]) {
      const [q, k, v] = inputs(shape);
      const data = (v.data as Float32Array).slice();
      data[2 * 83 * 20 + 5] = bad;
      // The keys of the middle batch that hold it are seen by nobody.
      const options = { causal: true, align: { offset: [82, -1, 62] } } as const;
      const { result } = run([q, k, { ...v, data }], options);
      const clean = run([q, k, v], options).result;
      const size = 4 * 21 * 20;
      for (const b of [0, 2]) {
        expectSame(result.out.slice(b * size, (b + 1) * size), clean.out.slice(b * size, (b + 1) * size));
      }
    }
  });
  it("sequences of one head and one query, packed", () => {
    const tensors: Tensors = [tensor([3, 1, 8], 1), tensor([20, 1, 8], 2), tensor([20, 1, 8], 3)];
    const { problem, result } = run(tensors, {
      layout: "thd",
      cuSeqlens: { q: [0, 1, 2, 3], k: [0, 5, 9, 20] },
    });
    check(problem, result);
  });
  it("broadcast, strided and offset heads", () => {
    const [q, k, v] = inputs({ H: 4, N: 9, M: 30, D: 8 });
    const first = { ...q, strides: [0, 0, 8, 1] };
    const { problem, result } = run([first, { ...k, strides: [0, 0, 8, 1] }, v]);
    check(problem, result);
    const apart = { ...q, shape: [1, 2, 9, 8], strides: [0, 144, 8, 1], offset: 72 };
    const two = (t: TensorInput) => ({ ...t, shape: [1, 2, 30, 8], offset: 240, strides: [0, 480, 8, 1] });
    const other = run([apart, two(k), two(v)]);
    check(other.problem, other.result);
  });
});

describe("forward() heads and alignment", () => {
  for (const [H, G] of [[4, 4], [4, 2], [6, 2], [5, 1]] as const) {
    it(`H=${H} G=${G}`, () => {
      verify({ B: 2, H, G, N: 37, M: 70, D: 16 });
      verify({ B: 2, H, G, N: 1, M: 70, D: 16 }, { causal: true });
      verify({ B: 2, H, G, N: 70, M: 37, D: 16 }, { causal: true });
    });
  }
  for (const offset of [-200, -64, -5, 0, 3, 64, 100, 500]) {
    it(`diagonal at ${offset}`, () => {
      verify({ N: 100, M: 150, D: 8 }, { causal: true, align: { offset } });
      verify({ B: 2, N: 50, M: 66, D: 8 }, { causal: true, align: { offset: [offset, 7] } });
    });
  }
  it("scale: negative, zero, tiny, huge", () => {
    for (const scale of [-0.3, 0, 1e-30, 1e-44, 5]) verify({ N: 20, M: 70, D: 8 }, { scale });
  });
});

describe("forward() bits", () => {
  const shape = { B: 2, H: 4, G: 2, N: 150, M: 300, D: 24, E: 17 };
  const variants: AttentionOptions[] = [
    {},
    { causal: true },
    { bias: tensor([2, 4, 150, 300], 9) },
    { window: [70, 3], sinkTokens: 5 },
    { softcap: 3, alibiSlopes: [0.5, 0.25, 0.1, 0], sink: [1, -1, 0, 9], causal: true },
  ];
  variants.forEach((options, n) =>
    it(`do not depend on block, chunk, panel, kernels or batch (${n})`, () => {
      const tensors = inputs(shape);
      const { problem, result } = run(tensors, options);
      check(problem, result);
      for (const chunkRows of [4, 20, 64, 512]) {
        for (const panelKeys of [64, 128, 320]) {
          expectSameBits(result, run(tensors, options, { chunkRows, panelKeys }).result);
        }
      }
      for (const br of [4, 12, 256]) expectSameBits(result, run(tensors, options, { br }).result);
      expectSameBits(result, run(tensors, options, { scalar: true }).result);
      const second = each(tensors, ({ data, shape }) => {
        const half = (data as Float32Array).length / 2;
        return { data: (data as Float32Array).subarray(half), shape: [1, ...Array.from(shape!).slice(1)] };
      });
      const bias = options.bias && {
        data: (options.bias.data as Float32Array).subarray(4 * 150 * 300),
        shape: [1, 4, 150, 300],
      };
      const alone = run(second, { ...options, ...(bias && { bias }) }).result;
      expectSame(alone.out, result.out.subarray(result.out.length / 2));
    })
  );
});

describe("forward() bias and mask", () => {
  const shape = { B: 2, H: 4, G: 2, N: 45, M: 130, D: 8 };
  for (
    const dims of [[1], [130], [45, 1], [45, 130], [4, 1, 130], [2, 1, 45, 130], [2, 4, 1, 1], [
      2,
      4,
      45,
      130,
    ]]
  ) {
    it(`broadcasts [${dims}]`, () => {
      const bias = tensor(dims, 5, 3);
      verify(shape, { bias });
      verify(shape, { bias, causal: true }, { panelKeys: 64, chunkRows: 28 });
      const mask = {
        data: Uint8Array.from(bias.data, (x) => x > 0 ? 1 : 0),
        dtype: "bool" as const,
        shape: dims,
      };
      verify(shape, { mask });
      verify(shape, { mask, bias, causal: true }, { panelKeys: 64, chunkRows: 28 });
      const words = Uint16Array.from(bias.data, encodeFloat16);
      verify(shape, { bias: { data: words, dtype: "float16", shape: dims } });
      verify(shape, {
        bias: { data: Uint16Array.from(bias.data, encodeBFloat16), dtype: "bfloat16", shape: dims },
      });
    });
  }
  it("bias by odd strides", () => {
    const data = tensor([130 * 45 * 2], 8).data;
    verify(shape, { bias: { data, shape: [45, 130], strides: [1, 45] } });
    verify(shape, { bias: { data, shape: [45, 130], strides: [260, 2], offset: 1 } });
    const bytes = Uint8Array.from(data, (x) => x > 0 ? 1 : 0);
    verify(shape, { mask: { data: bytes, dtype: "bool", shape: [45, 130], strides: [1, 45] } });
  });
  it("extreme bias: −∞ rows, the most negative float, 1e4", () => {
    const bias = tensor([45, 130], 3);
    bias.data.fill(-Infinity, 0, 260);
    bias.data.fill(-3.4028234663852886e38, 260, 390);
    bias.data[395] = -3.4028234663852886e38;
    for (let j = 520; j < 650; j++) bias.data[j] += 1e4;
    verify(shape, { bias });
  });
});

describe("forward() layouts and dtypes", () => {
  it("bnhd, strided and transposed inputs give the bits of bhnd", () => {
    const shape = { B: 2, H: 4, G: 2, N: 33, M: 70, D: 12 };
    const tensors = inputs(shape);
    const want = run(tensors, { causal: true }).result;
    const swapped = each(tensors, ({ data, shape }) => {
      const [B, H, N, D] = Array.from(shape!);
      const copy = new Float32Array(data.byteLength / 4);
      for (let b = 0; b < B; b++) {
        for (let h = 0; h < H; h++) {
          for (let i = 0; i < N; i++) {
            for (let d = 0; d < D; d++) {
              copy[((b * N + i) * H + h) * D + d] = (data as Float32Array)[((b * H + h) * N + i) * D + d];
            }
          }
        }
      }
      return { data: copy, shape: [B, N, H, D] };
    });
    const bnhd = run(swapped, { causal: true, layout: "bnhd" });
    expectSame(bnhd.result.lse!, want.lse!);
    check(bnhd.problem, bnhd.result);
    const strided = each(swapped, ({ data, shape }) => {
      const [B, N, H, D] = Array.from(shape!);
      return { data, shape: [B, H, N, D], strides: [N * H * D, D, H * D, 1] };
    });
    expectSameBits(run(strided, { causal: true }).result, want);
    const transposed = each(tensors, ({ data, shape }) => {
      const [B, H, N, D] = Array.from(shape!);
      const copy = new Float32Array(data.byteLength / 4);
      for (let x = 0; x < B * H; x++) {
        for (let i = 0; i < N; i++) {
          for (let d = 0; d < D; d++) copy[(x * D + d) * N + i] = (data as Float32Array)[(x * N + i) * D + d];
        }
      }
      return { data: copy, shape: [B, H, N, D], strides: [H * N * D, N * D, 1, N] };
    });
    expectSameBits(run(transposed, { causal: true }).result, want);
  });

  for (
    const [dtype, encode, decode] of [
      ["float16", encodeFloat16, decodeFloat16],
      ["bfloat16", encodeBFloat16, decodeBFloat16],
    ] as const
  ) {
    it(`${dtype} gives the bits of the same numbers in float32`, () => {
      for (const D of [1, 5, 8, 40, 64]) {
        const tensors = inputs({ H: 2, N: 30, M: 131, D });
        const words = each(tensors, ({ data, shape }) => ({
          data: Uint16Array.from(data as Float32Array, encode),
          dtype,
          shape: shape!,
        }));
        const exact = each(words, ({ data, shape }) => ({
          data: Float32Array.from(data as Uint16Array, decode),
          shape: shape!,
        }));
        expectSameBits(run(words).result, run(exact).result);
      }
    });
  }
});

describe("forward() every option of the oracle", () => {
  const shape = { B: 2, H: 4, G: 2, N: 77, M: 200, D: 8 };
  const cases: Record<string, AttentionOptions> = {
    window: { window: [20, 3] },
    "window, left only": { window: [20, null], causal: true },
    "window beyond the keys": { window: [3, 3], align: { offset: 190 } },
    "window wider than the keys, diagonal beyond them": { window: [230, null], align: { offset: 190 } },
    "window per head": { window: [[5, 5], [null, 0], [100, 2], [0, 0]] },
    "sink tokens": { window: [10, 0], sinkTokens: [4, 70, 0, 130], causal: true },
    chunk: { chunk: 30 },
    "chunk, causal, sink tokens": { chunk: 64, causal: true, sinkTokens: 3 },
    softcap: { softcap: 2 },
    alibi: { alibiSlopes: [0.5, 0.1, 0.01, 0] },
    "alibi causal": { alibiSlopes: [0.5, 0.1, 0.01, 0], causal: true },
    "alibi per batch": { alibiSlopes: tensor([2, 4], 3), window: [30, 30] },
    flashInfer: { semantics: "flashInfer", softcap: 2, alibiSlopes: [0.5, 0.1, 0.01, 0] },
    ggml: { semantics: "ggml", bias: tensor([77, 200], 4), alibiSlopes: [0.5, 0.1, 0.01, 2] },
    sink: { sink: [0, 3, -Infinity, 1e4] },
    "sink outside lse": {
      sink: [0, 3, -Infinity, 1e4],
      semantics: { lseIncludesSink: false },
      causal: true,
      align: { offset: -9 },
    },
    keyLengths: { keyLengths: [0, 133], causal: true },
  };
  for (const [name, options] of Object.entries(cases)) {
    it(name, () => {
      verify(shape, options);
      verify(shape, options, { panelKeys: 64, chunkRows: 12 });
    });
  }
  it("packed sequences (thd)", () => {
    const H = 4, G = 2, D = 8;
    const cu = { q: [0, 5, 5, 70, 71], k: [0, 65, 70, 70, 200] };
    const tensors = [tensor([75, H, D], 1), tensor([201, G, D], 2), tensor([201, G, D], 3)] as Tensors;
    for (const options of [{}, { causal: true }, { window: [9, 0] as const, sink: [1, 2, 3, 4] }]) {
      const { problem, result } = run(tensors, { ...options, layout: "thd", cuSeqlens: cu });
      check(problem, result);
    }
  });
});
