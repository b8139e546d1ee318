/** Helpers with other people's signatures: flash-attention, PyTorch, Hugging Face. */
import { describe, expect, it } from "vitest";
import {
  type CacheOptions,
  flashAttnOf,
  type FlashAttnOptions,
  fromAttentionMask,
  sdpaOf,
  type SdpaOptions,
} from "../src/compat/index.ts";
import { applyRotary, attention, type AttentionOptions } from "../src/reference/index.ts";
import { sample } from "./suites/cases.ts";
import { coin, type Made, normal, transposed } from "./support/tensors.ts";
import { expectThrow } from "./support/throws.ts";

const flashAttn = flashAttnOf(attention);
const sdpa = sdpaOf(attention);

describe("flashAttn.func", () => {
  const [q, k, v] = sample([2, 4, 2, 5, 7, 8, 6], 1).map((t) => transposed(t));
  const plain = (options: AttentionOptions) =>
    attention(q, k, v, { semantics: "flashAttention2", layout: "bnhd", ...options });

  it("is attention by flash-attention's rules", () => {
    const pairs: [FlashAttnOptions, AttentionOptions][] = [
      [{}, {}],
      [{ causal: true }, { causal: true }],
      [{ softmaxScale: 0.3, softcap: 2 }, { scale: 0.3, softcap: 2 }],
      [{ softmaxScale: null, alibiSlopes: null }, {}],
      [{ windowSize: [2, 0] }, { window: [2, 0] }],
      [{ windowSize: [-1, -1] }, {}],
      [{ windowSize: [-7, 1] }, { window: [null, 1] }],
      [{ alibiSlopes: [1, 0.5, 0.25, 0], causal: true }, { alibiSlopes: [1, 0.5, 0.25, 0], causal: true }],
      [{ dropoutP: 0.5, seed: 3 }, { dropout: { p: 0.5, seed: 3 } }],
      [{ dropoutP: 0, deterministic: true }, {}],
    ];
    for (const [options, ours] of pairs) expect(flashAttn.func(q, k, v, options)).toEqual(plain(ours).out);
  });

  it("returns [out, lse, P] with returnAttnProbs", () => {
    const [out, lse, P] = flashAttn.func(q, k, v, {
      returnAttnProbs: true,
      alibiSlopes: [1, 2, 3, 4],
      causal: true,
    });
    const want = plain({ alibiSlopes: [1, 2, 3, 4], causal: true, lse: true, probabilities: true });
    expect({ out, lse, probabilities: P }).toEqual(want);
  });

  it("knows its options", () => {
    expectThrow(
      () => flashAttn.func(q, k, v, { window: [1, 1] } as FlashAttnOptions),
      TypeError,
      "window: no such option; there are dropoutP, softmaxScale, causal, windowSize, softcap, alibiSlopes, " +
        "deterministic, returnAttnProbs, seed",
    );
    expectThrow(
      () => flashAttn.func(q, k, v, null as never),
      TypeError,
      "options: expected an object, got null",
    );
  });
});

describe("flashAttn.varlenFunc", () => {
  const [q, k, v] = [normal(1, [9, 4, 8]), normal(2, [8, 2, 8]), normal(3, [8, 2, 6])];
  const [cuQ, cuK] = [Int32Array.of(0, 3, 3, 9), Int32Array.of(0, 5, 8, 8)];

  it("is thd; a sequence without keys has lse +∞", () => {
    const [out, lse] = flashAttn.varlenFunc(q, k, v, cuQ, cuK, 6, 5, { causal: true, returnAttnProbs: true });
    const want = attention(q, k, v, {
      semantics: "flashAttention2",
      layout: "thd",
      cuSeqlens: { q: cuQ, k: cuK },
      causal: true,
      lse: true,
    });
    expect({ out, lse }).toEqual(want);
    expect(lse.data[3]).toBe(Infinity);
    expect(flashAttn.varlenFunc(q, k, v, cuQ, cuK, 100, 100, { causal: true })).toEqual(out);
  });

  it("checks the longest sequence", () => {
    expectThrow(
      () => flashAttn.varlenFunc(q, k, v, cuQ, cuK, 5, 5),
      RangeError,
      "maxSeqlenQ: expected at least 6, got 5",
    );
    expectThrow(
      () => flashAttn.varlenFunc(q, k, v, cuQ, cuK, 6, "5" as never),
      TypeError,
      'maxSeqlenK: expected a number, got "5"',
    );
  });
});

describe("flashAttn.withKvCache", () => {
  const [B, H, G, N, T, S, D, E] = [3, 4, 2, 2, 3, 10, 8, 6];
  const q = normal(1, [B, N, H, D]);
  const k = normal(2, [B, T, G, D]);
  const v = normal(3, [B, T, G, E]);
  const lengths = [0, 4, 7];
  const angles = normal(4, [S, 2]).data;
  const rotaryCos = { data: angles.map((x) => Math.cos(x)), shape: [S, 2] };
  const rotarySin = { data: angles.map((x) => Math.sin(x)), shape: [S, 2] };
  const caches = () => [normal(5, [B, S, G, D]), normal(6, [B, S, G, E])];

  /** The same by hand: each sequence by itself, keys put together. */
  function byHand(options: CacheOptions, from: number[] = [0, 0, 0]): number[] {
    const [kCache, vCache] = caches();
    return lengths.flatMap((length, b) => {
      const part = (t: Made, first: number, count: number): Made => {
        const rows = t.shape[1];
        const width = t.shape[2] * t.shape[3];
        const start = (b * rows + first) * width;
        return {
          data: t.data.slice(start, start + count * width),
          shape: [1, count, t.shape[2], t.shape[3]],
        };
      };
      const turn = (t: Made, positions: number[]): Made =>
        options.rotaryCos
          ? applyRotary(t, {
            ...{
              cos: rotaryCos,
              sin: rotarySin,
              layout: "bnhd",
              interleaved: options.rotaryInterleaved ?? true,
            },
            positions,
          }) as Made
          : t;
      const join = (a: Made, c: Made): Made => ({
        data: Float32Array.from([...a.data, ...c.data]),
        shape: [1, a.shape[1] + c.shape[1], ...a.shape.slice(2)],
      });
      const moving = options.causal || options.windowSize;
      const own = turn(part(q, 0, N), [0, 1].map((i) => moving ? length + i : length));
      const news = turn(part(k, 0, T), [0, 1, 2].map((t) => length + t));
      const round = { data: Float32Array.from(own.data), shape: own.shape };
      return Array.from(
        attention(
          round,
          join(part(kCache, from[b], length - from[b]), news),
          join(part(vCache, from[b], length - from[b]), part(v, 0, T)),
          {
            ...{ semantics: "flashAttention2", layout: "bnhd", causal: options.causal === true },
            ...(options.windowSize && { window: options.windowSize }),
          },
        ).out.data,
        Number,
      );
    });
  }

  const variants: [string, CacheOptions][] = [
    ["plain", {}],
    ["causal", { causal: true }],
    ["rotary, all queries at one position", { rotaryCos, rotarySin }],
    ["rotary, causal, interleaved", { rotaryCos, rotarySin, causal: true }],
    ["rotary, windowed, half-split", { rotaryCos, rotarySin, windowSize: [3, 0], rotaryInterleaved: false }],
  ];

  for (const [title, options] of variants) {
    it(`appends, then attends: ${title}`, () => {
      const [kCache, vCache] = caches();
      const [keptK, keptV] = caches();
      const out = flashAttn.withKvCache(q, kCache, vCache, { ...options, k, v, cacheSeqlens: lengths });
      expect(Array.from(out.data, Number)).toEqual(byHand(options));
      // V lands word for word; everything else stays.
      for (let b = 0; b < B; b++) {
        const end = lengths[b] + T;
        const slice = (t: Made, from: number, to: number) => {
          const width = t.shape[2] * t.shape[3];
          return t.data.slice((b * t.shape[1] + from) * width, (b * t.shape[1] + to) * width);
        };
        expect(slice(vCache, lengths[b], end)).toEqual(slice(v, 0, T));
        for (const [after, before] of [[kCache, keptK], [vCache, keptV]]) {
          expect(slice(after, 0, lengths[b])).toEqual(slice(before, 0, lengths[b]));
          expect(slice(after, end, S)).toEqual(slice(before, end, S));
        }
        if (!options.rotaryCos) expect(slice(kCache, lengths[b], end)).toEqual(slice(k, 0, T));
      }
      // A second call without new keys sees the same.
      if (!options.rotaryCos) {
        const again = flashAttn.withKvCache(q, kCache, vCache, { ...options, cacheSeqlens: [3, 7, 10] });
        expect(again).toEqual(out);
      }
    });

    it(`pages hold the same: ${title}`, () => {
      const [kCache, vCache] = caches();
      const want = flashAttn.withKvCache(q, kCache, vCache, { ...options, k, v, cacheSeqlens: lengths });
      // 3 sequences of 5 pages of 2, dealt out in some order among 17
      const order = [4, 16, 0, 9, 2, 11, 7, 3, 13, 1, 5, 15, 8, 10, 6];
      const [oldK, oldV] = caches();
      const paged = (t: Made): Made => {
        const width = 2 * t.shape[2] * t.shape[3];
        const data = new Float32Array(17 * width);
        order.forEach((page, x) => data.set(t.data.subarray(x * width, x * width + width), page * width));
        return { data, shape: [17, 2, t.shape[2], t.shape[3]] };
      };
      const blockTable = { data: Int32Array.from(order), shape: [B, 5] };
      const [pagedK, pagedV] = [paged(oldK), paged(oldV)];
      const got = flashAttn.withKvCache(q, pagedK, pagedV, {
        ...options,
        k,
        v,
        cacheSeqlens: lengths,
        blockTable,
      });
      expect(got).toEqual(want);
      expect([pagedK, pagedV]).toEqual([paged(kCache), paged(vCache)]);
    });
  }

  it("left padding: keys before it are not there, positions stay", () => {
    const leftpad = [0, 2, 5];
    for (const options of [{ causal: true }, { causal: true, rotaryCos, rotarySin }]) {
      const [kCache, vCache] = caches();
      const given = { ...options, k, v, cacheSeqlens: lengths, cacheLeftpad: leftpad };
      const out = flashAttn.withKvCache(q, kCache, vCache, given);
      expect(Array.from(out.data, Number)).toEqual(byHand(options, leftpad));
    }
  });

  it("batch indices pick rows of the cache", () => {
    const [kCache, vCache] = caches();
    const want = flashAttn.withKvCache(q, ...caches() as [Made, Made], { k, v, cacheSeqlens: lengths });
    const shuffled = (t: Made): Made => {
      const row = t.data.length / B;
      const data = new Float32Array(5 * row);
      [3, 0, 4].forEach((to, b) => data.set(t.data.subarray(b * row, b * row + row), to * row));
      return { data, shape: [5, ...t.shape.slice(1)] };
    };
    const options = { k, v, cacheSeqlens: lengths, cacheBatchIdx: [3, 0, 4] };
    expect(flashAttn.withKvCache(q, shuffled(kCache), shuffled(vCache), options)).toEqual(want);
  });

  it("one length for all, the whole cache, the lse", () => {
    const [kCache, vCache] = caches();
    const all = flashAttn.withKvCache(q, kCache, vCache);
    expect(flashAttn.withKvCache(q, kCache, vCache, { cacheSeqlens: S, numSplits: 4 })).toEqual(all);
    const [out, lse] = flashAttn.withKvCache(q, kCache, vCache, {
      cacheSeqlens: [0, 1, 2],
      returnSoftmaxLse: true,
    });
    expect([out.shape, lse.shape]).toEqual([[B, N, H, E], [B, H, N]]);
    expect(lse.data[0]).toBe(Infinity);
  });

  it("16-bit caches keep their words", () => {
    const half = (t: Made) => ({
      data: Uint16Array.from(t.data, (x) => 0x3c00 + (x * 100 & 255)),
      shape: t.shape,
      dtype: "float16" as const,
    });
    const [kCache, vCache] = caches().map(half);
    flashAttn.withKvCache(q, kCache, vCache, {
      k: half(k),
      v: half(v),
      cacheSeqlens: lengths,
      rotaryCos,
      rotarySin,
    });
    expect(vCache.data.slice(0, T * G * E)).toEqual(half(v).data.slice(0, T * G * E));
    // What does not turn is K word for word: dims 4 to 7 of 8.
    expect(kCache.data.slice(4, 8)).toEqual(half(k).data.slice(4, 8));
  });

  it("writes nothing when something is wrong, and says what", () => {
    const [kCache, vCache] = caches();
    const fail = (options: CacheOptions, Class: typeof TypeError | typeof RangeError, message: string) =>
      expectThrow(() => flashAttn.withKvCache(q, kCache, vCache, options), Class, message);
    fail({ k }, TypeError, "k: expected k and v together, got one of them");
    fail({ k, v }, TypeError, "cacheSeqlens: expected the lengths before k is appended, got none");
    fail(
      { k, v, cacheSeqlens: [0, 8, 0] },
      RangeError,
      "cacheSeqlens[1]: expected room for 3 new keys in 10, got 8 old ones",
    );
    fail(
      { cacheSeqlens: 11 },
      RangeError,
      "cacheSeqlens[0]: expected room for 0 new keys in 10, got 11 old ones",
    );
    fail({ cacheSeqlens: [1, 2, -1] }, RangeError, "cacheSeqlens[2]: expected an integer ≥ 0, got -1");
    fail(
      { cacheSeqlens: [3, 3, 3], cacheLeftpad: [0, 4, 0] },
      RangeError,
      "cacheLeftpad[1]: expected at most 3 keys, got 4",
    );
    fail({ cacheBatchIdx: [0, 1, 3] }, RangeError, "cacheBatchIdx[2]: expected 0 to 2, got 3");
    fail({ rotaryCos }, TypeError, "rotaryCos: expected rotaryCos and rotarySin together, got one of them");
    fail({ k: v, v, cacheSeqlens: 0 }, RangeError, "k: expected [3,T,2,8], got [3,3,2,6]");
    fail(
      { k: { ...k, data: Float64Array.from(k.data) }, v, cacheSeqlens: 0 },
      TypeError,
      "k: expected float32 like the cache, got float64",
    );
    const blockTable = { data: Int32Array.of(0, 1, 2, 3, 4, 5), shape: [3, 2] };
    fail({ blockTable }, RangeError, "blockTable[1,1]: expected 0 to 2, got 3");
    fail(
      { blockTable, cacheLeftpad: [0, 0, 0] },
      RangeError,
      "cacheLeftpad: expected none with blockTable, got one",
    );
    fail(
      { blockTable: { data: Int32Array.of(0), shape: [1] } },
      RangeError,
      "blockTable: expected [B,pages] with B=3, got [1]",
    );
    fail(
      {
        k,
        v,
        cacheSeqlens: lengths,
        rotaryCos: { ...rotaryCos, shape: [5, 2] },
        rotarySin: { ...rotarySin, shape: [5, 2] },
      },
      RangeError,
      "positions[4]: expected an integer from 0 to 4, got 5",
    );
    expect([kCache, vCache]).toEqual(caches());
  });
});

describe("sdpa", () => {
  const [q, k, v] = sample([2, 4, 4, 5, 7, 8, 6], 2);
  const plain = (options: AttentionOptions) => attention(q, k, v, { semantics: "sdpa", ...options }).out;

  it("is attention by PyTorch's rules: causal from the top left", () => {
    expect(sdpa(q, k, v)).toEqual(plain({}));
    expect(sdpa(q, k, v, { isCausal: true })).toEqual(plain({ causal: true, align: "top-left" }));
    expect(sdpa(q, k, v, { scale: 0.1, dropoutP: 0.2, seed: 5 }))
      .toEqual(plain({ scale: 0.1, dropout: { p: 0.2, seed: 5 } }));
    expect(sdpa(q, k, v, { scale: null, attnMask: null })).toEqual(plain({}));
  });

  it("masks: boolean or added", () => {
    const mask = coin(3, [5, 7], 0.6);
    expect(sdpa(q, k, v, { attnMask: mask })).toEqual(plain({ mask }));
    const bias = normal(4, [4, 1, 7]);
    expect(sdpa(q, k, v, { attnMask: bias })).toEqual(plain({ bias }));
  });

  it("two to four axes", () => {
    const first = (t: Made, count: number, shape: number[]) => ({ data: t.data.slice(0, count), shape });
    const want = plain({});
    const three = sdpa(first(q, 160, [4, 5, 8]), first(k, 224, [4, 7, 8]), first(v, 168, [4, 7, 6]));
    expect(three.shape).toEqual([4, 5, 6]);
    expect(three.data).toEqual(want.data.slice(0, 120));
    const two = sdpa(first(q, 40, [5, 8]), first(k, 56, [7, 8]), first(v, 42, [7, 6]));
    expect(two.shape).toEqual([5, 6]);
    expect(two.data).toEqual(want.data.slice(0, 30));
  });

  it("fewer key heads only with enableGqa", () => {
    const [, k2, v2] = sample([2, 4, 2, 5, 7, 8, 6], 3);
    expect(sdpa(q, k2, v2, { enableGqa: true })).toEqual(attention(q, k2, v2, { semantics: "sdpa" }).out);
    expectThrow(() => sdpa(q, k2, v2), RangeError, "key: expected 4 heads, got 2; fewer need enableGqa");
  });

  it("says what is wrong", () => {
    const attnMask = coin(3, [5, 7], 0.6);
    expectThrow(
      () => sdpa(q, k, v, { isCausal: true, attnMask }),
      RangeError,
      "attnMask: expected none with isCausal, got one",
    );
    expectThrow(
      () => sdpa({ data: new Float32Array(3), shape: [3] }, k, v),
      RangeError,
      "query: expected two to four axes [..., L, E], got [3]",
    );
    expectThrow(
      () => sdpa(q, k, v, { attn_mask: attnMask } as SdpaOptions),
      TypeError,
      "attn_mask: no such option; there are attnMask, dropoutP, isCausal, scale, enableGqa, seed",
    );
  });
});

describe("fromAttentionMask", () => {
  const ints = (...rows: number[][]) => ({
    data: BigInt64Array.from(rows.flat(), BigInt),
    dims: [rows.length, rows[0].length],
    type: "int64",
  });

  it("right padding becomes lengths, anything else a mask, and both mean the same", () => {
    for (const N of [5, 2]) {
      const [q, k, v] = sample([2, 2, 1, N, 5, 4, 3], 4);
      for (
        const [rows, lengths] of [
          [[[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], [3, 5]],
          [[[0, 0, 0, 0, 0], [1, 0, 0, 0, 0]], [0, 1]],
          [[[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]], null],
          [[[1, 1, 0, 0, 1], [1, 1, 1, 1, 0]], null],
        ] as [number[][], number[] | null][]
      ) {
        const options = fromAttentionMask(ints(...rows), N);
        expect(options.keyLengths ?? null).toEqual(lengths);
        const mask = { data: Uint8Array.from(rows.flat()), shape: [2, 1, 1, 5], dtype: "bool" as const };
        for (const causal of [false, true]) {
          const got = attention(q, k, v, { causal, ...options, lse: true });
          expect(got).toEqual(attention(q, k, v, { causal, mask, lse: true }));
        }
      }
    }
  });

  it("takes any dtype of zeros and ones, and nothing else", () => {
    expect(fromAttentionMask({ data: Float32Array.of(1, 0), shape: [1, 2] }).keyLengths).toEqual([1]);
    expect(fromAttentionMask({ data: Uint8Array.of(1, 1), shape: [1, 2], dtype: "bool" }).keyLengths).toEqual(
      [2],
    );
    expectThrow(
      () => fromAttentionMask(ints([1, 2])),
      RangeError,
      "attentionMask[1]: expected 0 or 1, got 2",
    );
    expectThrow(
      () => fromAttentionMask({ data: Int32Array.of(1), shape: [1] }),
      RangeError,
      "attentionMask: expected [B,M], got [1]",
    );
  });
});
