/** Problems for the suites: seeded tensors, each option alone, any of them together. */
import fc from "fast-check";
import type { AttentionOptions } from "../../src/reference/index.ts";
import { BlockMask } from "../../src/sparse/blockmask.ts";
import { coin, type Made, normal } from "../support/tensors.ts";

/** q, k, v of shape [B, H, G, N, M, D, E]. */
export function sample([B, H, G, N, M, D, E]: readonly number[], seed: number): [Made, Made, Made] {
  return [
    normal(seed * 3 + 1, [B, H, N, D], 1.5),
    normal(seed * 3 + 2, [B, G, M, D], 1.5),
    normal(seed * 3 + 3, [B, G, M, E]),
  ];
}

/** A bias with some −∞; and one row of nothing else if there is more than one. */
function biasOf(seed: number, shape: number[]): Made {
  const bias = normal(seed, shape);
  const seen = coin(seed + 1, shape, 0.8).data;
  const M = shape[shape.length - 1];
  for (let x = 0; x < bias.data.length; x++) {
    if (!seen[x] || (x < M && shape.length > 2)) bias.data[x] = -Infinity;
  }
  return bias;
}

/** For B = 2, H = 4, N = 9, M = 13. */
export const each: [string, AttentionOptions][] = [
  ["scale", { scale: 0.3 }],
  ["scale 0", { scale: 0 }],
  ["scale below 0", { scale: -0.2 }],
  ["causal, bottom-right", { causal: true }],
  ["causal, offset 2", { causal: true, align: { offset: 2 } }],
  ["causal, offset −3: rows that see nothing", { causal: true, align: { offset: -3 } }],
  ["causal, an offset per batch", { causal: true, align: { offset: [5, -2] } }],
  ["window", { window: [2, 3] }],
  ["window of the diagonal alone", { window: [0, 0] }],
  ["window, open left", { window: [null, 1] }],
  ["window, open right", { window: [1, -1] }],
  ["window, top-left", { window: [2, 1], align: "top-left" }],
  ["window and causal", { window: [2, 5], causal: true }],
  ["window per head", { window: [[0, 0], [1, null], [null, 2], [100, 100]] }],
  ["window and sink tokens", { window: [1, 0], sinkTokens: 3 }],
  ["window and sink tokens per head", { window: [2, null], sinkTokens: [0, 1, 4, 100] }],
  ["chunk", { chunk: 4 }],
  ["chunk and causal", { chunk: 3, causal: true }],
  ["chunk, diagonal before key 0", { chunk: 4, align: { offset: -6 } }],
  ["chunk and sink tokens", { chunk: 4, sinkTokens: 2 }],
  ["softcap", { softcap: 1.5 }],
  ["softcap 0", { softcap: 0 }],
  ["softcap and bias", { softcap: 0.7, bias: biasOf(20, [2, 4, 9, 13]) }],
  ["bias [M]", { bias: biasOf(21, [13]) }],
  ["bias [N,M]", { bias: biasOf(22, [9, 13]) }],
  ["bias [H,N,M]", { bias: biasOf(23, [4, 9, 13]) }],
  ["bias [B,1,1,M]", { bias: biasOf(24, [2, 1, 1, 13]) }],
  ["bias [1,H,N,1]", { bias: normal(25, [1, 4, 9, 1]) }],
  ["mask [N,M]", { mask: coin(26, [9, 13], 0.5) }],
  ["mask [B,1,1,M]", { mask: coin(27, [2, 1, 1, 13], 0.5) }],
  ["mask [B,H,N,M], most rows empty", { mask: coin(28, [2, 4, 9, 13], 0.05) }],
  ["mask, bias and causal", { mask: coin(29, [9, 13], 0.7), bias: biasOf(30, [2, 1, 9, 13]), causal: true }],
  ["mask of blocks", { mask: BlockMask.fromTensor(coin(31, [2, 4, 9, 13], 0.3), undefined, { rows: 2 }) }],
  ["mask of blocks, for all batches and heads, causal", {
    mask: BlockMask.fromTensor(coin(32, [9, 13], 0.6), undefined, { rows: 4 }),
    causal: true,
  }],
  ["ALiBi [H]", { alibiSlopes: [0.5, 0.25, 0.125, 0.0625] }],
  ["ALiBi [B,H], causal", {
    alibiSlopes: { data: Float32Array.from([1, 2, 3, 4, 0, -1, 0.5, 0.1]), shape: [2, 4] },
    causal: true,
  }],
  ["sink", { sink: [1, -2, 0, 3.5] }],
  ["sink of −∞ and causal", { sink: [1, -Infinity, 40, 0], causal: true }],
  ["keyLengths", { keyLengths: [13, 4] }],
  ["keyLengths, causal, one of them 0", { keyLengths: [7, 0], causal: true }],
];

/** [B, H, G, N, M, D, E], a seed, and options of which each is there half of the time. */
export function anyCase(without: readonly string[]) {
  const small = (max: number) => fc.integer({ min: 1, max });
  return fc.record({
    B: small(2),
    G: small(2),
    group: small(3),
    N: small(20),
    M: small(40),
    D: small(20),
    E: small(9),
  })
    .chain(({ B, G, group, N, M, D, E }) => {
      const H = G * group;
      const side = fc.option(fc.integer({ min: 0, max: 12 }), { nil: null });
      const shape = fc.constantFrom<number[][]>([M], [N, M], [H, 1, M], [B, 1, N, M], [B, H, N, M]);
      const every = fc.record({
        scale: fc.constantFrom(0.1, 0.5, 1),
        causal: fc.boolean(),
        align: fc.constantFrom<AttentionOptions["align"][]>("top-left", "bottom-right", { offset: 3 }, {
          offset: Array.from({ length: B }, (_, b) => 2 - 5 * b),
        }),
        window: fc.oneof(
          fc.tuple(side, side),
          fc.array(fc.tuple(side, side), { minLength: H, maxLength: H }),
        ),
        sinkTokens: fc.integer({ min: 0, max: 3 }),
        chunk: fc.constantFrom(0, 1, 5, 16),
        softcap: fc.constantFrom(0, 0.5, 20),
        bias: fc.tuple(fc.nat(99), shape).map(([seed, s]) => biasOf(seed, s)),
        mask: fc.oneof(
          fc.tuple(fc.nat(99), shape).map(([seed, s]) => coin(seed, s, 0.8)),
          fc.tuple(fc.nat(99), small(9), fc.constantFrom([N, M], [H, N, M], [B, H, N, M])).map(
            ([seed, rows, s]) => BlockMask.fromTensor(coin(seed, s, 0.8), undefined, { rows }),
          ),
        ),
        alibiSlopes: fc.array(fc.constantFrom(0, 0.1, 1), { minLength: H, maxLength: H }),
        sink: fc.array(fc.constantFrom(-Infinity, -3, 0, 5), { minLength: H, maxLength: H }),
        keyLengths: fc.array(fc.integer({ min: 0, max: M }), { minLength: B, maxLength: B }),
      }, { requiredKeys: [] });
      return fc.record({
        shape: fc.constant([B, H, G, N, M, D, E]),
        seed: fc.nat(1000),
        options: every.map((options) =>
          Object.fromEntries(
            Object.entries(options).filter(([key]) => !without.includes(key)),
          ) as AttentionOptions
        ),
      });
    });
}
