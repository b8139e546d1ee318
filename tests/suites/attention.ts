/**
 * What every implementation of attention must do, as a function of the implementation: the reference row by row and
 * tile by tile, the kernels in both builds. Answers come from tests/support/formula.ts, tolerances from the bound
 * derived there for the implementation's arithmetic.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dropoutDraw, dropoutRow, dropoutThreshold } from "../../src/dropout.ts";
import type { AttentionOptions, AttentionResult, TensorInput } from "../../src/reference/index.ts";
import { type Accuracy, at, formula } from "../support/formula.ts";
import { beyond, coin, type Made, normal, size, transposed } from "../support/tensors.ts";
import { anyCase, each, sample } from "./cases.ts";

type Attention = (
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  options?: AttentionOptions,
) => AttentionResult | Promise<AttentionResult>;

/** `without`: options that the implementation refuses; their tests show as skipped. */
export function attentionSuite(
  name: string,
  attention: Attention,
  accuracy: Accuracy & { readonly without?: readonly (keyof AttentionOptions)[] },
): void {
  const has = (...options: (keyof AttentionOptions)[]) =>
    it.skipIf(options.some((option) => accuracy.without?.includes(option)));

  /** out and lse agree with the formula. */
  async function agrees(q: Made, k: Made, v: Made, options: AttentionOptions = {}): Promise<void> {
    const { out, lse } = await attention(q, k, v, { ...options, lse: true });
    const want = formula(q, k, v, options, accuracy);
    expect(out.shape).toEqual([...q.shape.slice(0, 3), v.shape[3]]);
    expect(lse!.shape).toEqual(q.shape.slice(0, 3));
    expect(beyond(out.data, want.out, want.outBound)).toEqual([]);
    expect(beyond(lse!.data, want.lse, want.lseBound)).toEqual([]);
  }

  describe(name, () => {
    describe("shapes", () => {
      // B, H, G, N, M, D, E round the edges of tiles of 1, 4, 8, 16, 32 and 64
      for (
        const shape of [
          [1, 1, 1, 1, 1, 1, 1],
          [1, 1, 1, 1, 7, 3, 2],
          [2, 3, 3, 3, 5, 4, 4],
          [1, 2, 1, 4, 8, 8, 8],
          [1, 4, 2, 5, 9, 16, 12],
          [1, 6, 2, 15, 17, 5, 7],
          [1, 1, 1, 31, 33, 20, 20],
          [1, 2, 2, 33, 31, 64, 64],
          [1, 1, 1, 63, 65, 32, 40],
          [1, 1, 1, 65, 129, 17, 19],
          [1, 8, 1, 1, 130, 64, 64],
          [1, 1, 1, 129, 1, 8, 8],
          [2, 2, 2, 67, 61, 80, 48],
        ]
      ) {
        const [q, k, v] = sample(shape, 1);
        it(`[B,H,G,N,M,D,E] = [${shape}]`, () => agrees(q, k, v));
        it(`[${shape}] causal`, () => agrees(q, k, v, { causal: true }));
        it(`[${shape}] causal, top-left`, () => agrees(q, k, v, { causal: true, align: "top-left" }));
      }
    });

    describe("each option alone", () => {
      for (const [title, options] of each) {
        has(...Object.keys(options) as (keyof AttentionOptions)[])(title, async () => {
          const [q, k, v] = sample([2, 4, 2, 9, 13, 8, 6], 2);
          await agrees(q, k, v, options);
          const [q2, k2, v2] = sample([2, 4, 2, 13, 9, 8, 6], 2);
          if (!options.bias && !options.mask) {
            await agrees(q2, k2, v2, { ...options, ...shortLengths(options) });
          }
        });
      }
    });

    describe("options together", () => {
      it("any combination", async () => {
        await fc.assert(
          fc.asyncProperty(anyCase(accuracy.without ?? []), ({ shape, seed, options }) => {
            const [q, k, v] = sample(shape, seed);
            return agrees(q, k, v, options);
          }),
          { numRuns: 150, seed: 7 },
        );
      });
    });

    describe("layouts and views", () => {
      const [q, k, v] = sample([2, 4, 2, 6, 9, 8, 5], 3);
      const causal = { causal: true, lse: true };

      has("layout")("bnhd is bhnd with axes swapped", async () => {
        const want = await attention(q, k, v, causal);
        const got = await attention(transposed(q), transposed(k), transposed(v), {
          ...causal,
          layout: "bnhd",
        });
        expect(got.out.shape).toEqual([2, 6, 4, 5]);
        expect(transposed(got.out as Made).data).toEqual(want.out.data);
        expect(got.lse).toEqual(want.lse);
      });

      has("layout", "cuSeqlens")("thd is each sequence by itself, empty ones included", async () => {
        const cu = { q: [0, 3, 3, 7, 9], k: [0, 4, 6, 6, 11] };
        const [tq, tk, tv] = [normal(4, [10, 4, 8]), normal(5, [11, 2, 8]), normal(6, [11, 2, 5])];
        const options = { ...causal, window: [3, null], sink: [0.1, -1, 2, 0] } as const;
        const got = await attention(tq, tk, tv, { ...options, layout: "thd", cuSeqlens: cu });
        expect([got.out.shape, got.lse!.shape]).toEqual([[10, 4, 5], [4, 10]]);
        for (let s = 0; s < 4; s++) {
          const rows = (t: Made, from: number, to: number): Made => {
            const width = t.shape[1] * t.shape[2];
            const part = {
              data: t.data.slice(from * width, to * width),
              shape: [1, to - from, ...t.shape.slice(1)],
            };
            return transposed(part);
          };
          const one = await attention(
            rows(tq, cu.q[s], cu.q[s + 1]),
            rows(tk, cu.k[s], cu.k[s + 1]),
            rows(tv, cu.k[s], cu.k[s + 1]),
            options,
          );
          const N = cu.q[s + 1] - cu.q[s];
          for (let h = 0; h < 4; h++) {
            for (let i = 0; i < N; i++) {
              const t = cu.q[s] + i;
              expect(got.lse!.data[h * 10 + t]).toBe(one.lse!.data[h * N + i]);
              for (let e = 0; e < 5; e++) {
                expect(got.out.data[(t * 4 + h) * 5 + e]).toBe(one.out.data[(h * N + i) * 5 + e]);
              }
            }
          }
        }
        // Row 9 belongs to no sequence.
        expect(Array.from(got.out.data.slice(9 * 20), Number)).toEqual(new Array(20).fill(0));
        expect(got.lse!.data[9]).toBe(-Infinity);
      });

      it("strides, an offset, a reversed axis and a broadcast axis are views", async () => {
        // q inside a wider matrix, k with rows in reverse, v the same for both heads
        const wide = normal(7, [2, 4, 6, 20]);
        const qView = { data: wide.data, shape: [2, 4, 6, 8], strides: [480, 120, 20, 1], offset: 5 };
        const kView = { data: k.data, shape: k.shape, strides: [144, 72, -8, 1], offset: 64 };
        const vView = { data: v.data, shape: v.shape, strides: [90, 0, 5, 1] };
        const solid = (
          t: { data: Made["data"]; shape: number[]; strides: number[]; offset?: number },
        ): Made => {
          const data = new Float32Array(size(t.shape)).map((_, flat) => {
            let rest = flat;
            let index = t.offset ?? 0;
            for (let axis = 3; axis >= 0; axis--) {
              index += (rest % t.shape[axis]) * t.strides[axis];
              rest = Math.floor(rest / t.shape[axis]);
            }
            return t.data[index];
          });
          return { data, shape: t.shape };
        };
        expect(await attention(qView, kView, vView, causal))
          .toEqual(await attention(solid(qView), solid(kView), solid(vView), causal));
      });

      it("MLA: D = 576, V is the first 512 columns of K", async () => {
        const [mq, mk] = [normal(8, [1, 3, 2, 576]), normal(9, [1, 1, 5, 576])];
        const alias = { data: mk.data, shape: [1, 1, 5, 512], strides: [2880, 2880, 576, 1] };
        const copy = normal(9, [1, 1, 5, 512]);
        for (let j = 0; j < 5; j++) copy.data.set(mk.data.subarray(j * 576, j * 576 + 512), j * 512);
        const want = formula(mq, mk, copy, {}, accuracy);
        expect(beyond((await attention(mq, mk, alias)).out.data, want.out, want.outBound)).toEqual([]);
      });

      it("takes float16, bfloat16 and float64, and tensors of other libraries", async () => {
        // 1, −2, 0.5, 3 and such are exact in all of them
        const numbers = [1, -2, 0.5, 3, 0, -0.25, 1.5, 2];
        const half = [0x3c00, 0xc000, 0x3800, 0x4200, 0, 0xb400, 0x3e00, 0x4000];
        const brain = [0x3f80, 0xc000, 0x3f00, 0x4040, 0, 0xbe80, 0x3fc0, 0x4000];
        const shape = [1, 1, 4, 2];
        const x = { data: Float32Array.from(numbers), shape };
        const want = (await attention(x, x, x)).out;
        for (
          const y of [
            // Narrower arithmetics refuse what they would have to round.
            ...(accuracy.u === 2 ** -53 ? [{ data: Float64Array.from(numbers), shape }] : []),
            { data: Uint16Array.from(half), shape, dtype: "float16" },
            { data: Uint16Array.from(brain), shape, dtype: "bfloat16" },
            { data: Float32Array.from(numbers), dims: shape, type: "float32", location: "cpu" },
          ] as TensorInput[]
        ) expect((await attention(y, y, y)).out).toEqual(want);
      });
    });

    describe("what masked keys hold never matters", () => {
      const mask = coin(1, [1, 1, 6, 9], 0.6);
      const blocked: [string, AttentionOptions][] = [
        ["mask", { mask }],
        ["bias", {
          bias: { data: Float32Array.from(mask.data, (x) => x ? 0.5 : -Infinity), shape: mask.shape },
        }],
        ["causal", { causal: true, align: "top-left" }],
        ["window", { window: [1, 1] }],
        ["chunk", { chunk: 3 }],
        ["keyLengths", { keyLengths: [5] }],
      ];
      for (const [title, options] of blocked) {
        has(...Object.keys(options) as (keyof AttentionOptions)[])(title, async () => {
          const [q, k, v] = sample([1, 2, 1, 6, 9, 8, 5], 11);
          const seen = formula(q, k, v, options).probabilities;
          const want = await attention(q, k, v, { ...options, lse: true });
          let poisoned = 0;
          for (const poison of [NaN, Infinity, -Infinity, 3e38]) {
            for (let j = 0; j < 9; j++) {
              // A key that some rows see and others don't can only be poisoned for those that don't.
              const dirty = { k: { ...k, data: k.data.slice() }, v: { ...v, data: v.data.slice() } };
              dirty.k.data.fill(poison, j * 8, j * 8 + 8);
              dirty.v.data.fill(poison, j * 5, j * 5 + 5);
              const got = await attention(q, dirty.k, dirty.v, { ...options, lse: true });
              for (let row = 0; row < 12; row++) {
                if (seen[row * 9 + j] !== 0) continue;
                poisoned++;
                expect(got.out.data.slice(row * 5, row * 5 + 5)).toEqual(
                  want.out.data.slice(row * 5, row * 5 + 5),
                );
                expect(got.lse!.data[row]).toBe(want.lse!.data[row]);
              }
            }
          }
          expect(poisoned).toBeGreaterThan(20);
        });
      }
    });

    describe("numbers at the edge", () => {
      it("NaN in a query stays in its row, NaN in a value stays in its column", async () => {
        const [q, k, v] = sample([1, 2, 1, 6, 9, 8, 5], 12);
        const want = await attention(q, k, v, { lse: true });
        const dirty = { ...q, data: q.data.slice() };
        dirty.data[3 * 8 + 2] = NaN;
        const row = await attention(dirty, k, v, { lse: true });
        expect(Array.from(row.out.data, Number.isNaN)).toEqual(
          Array.from({ length: 60 }, (_, x) => Math.floor(x / 5) === 3),
        );
        expect(Array.from(row.lse!.data, Number.isNaN)).toEqual(
          Array.from({ length: 12 }, (_, i) => i === 3),
        );
        expect(row.out.data.slice(20)).toEqual(want.out.data.slice(20));
        const value = { ...v, data: v.data.slice() };
        value.data[4 * 5 + 1] = NaN;
        const column = await attention(q, k, value);
        expect(Array.from(column.out.data, Number.isNaN)).toEqual(
          Array.from({ length: 60 }, (_, x) => x % 5 === 1),
        );
      });

      it("scores of ±10^4, far beyond exp", async () => {
        const [q, k, v] = sample([1, 2, 1, 9, 17, 8, 5], 13);
        for (let x = 0; x < q.data.length; x++) q.data[x] *= 3000;
        await agrees(q, k, v);
        await agrees(q, k, v, { causal: true });
      });

      it("equal scores give the mean, one score above all gives its value", async () => {
        const [, k, v] = sample([1, 1, 1, 3, 8, 4, 4], 14);
        const zero = normal(1, [1, 1, 3, 4], 0);
        await agrees(zero, k, v);
        const hot = normal(1, [1, 1, 3, 4], 0);
        k.data.fill(0);
        hot.data.fill(1000);
        k.data.fill(1, 5 * 4, 6 * 4);
        const { out } = await attention(hot, k, v);
        for (let i = 0; i < 3; i++) {
          expect(Array.from(out.data.slice(i * 4, i * 4 + 4), Number)).toEqual(
            Array.from(v.data.slice(20, 24)),
          );
        }
      });

      has("sink")("a sink of 200, of −∞, and on rows without a key", async () => {
        const [q, k, v] = sample([1, 4, 1, 6, 3, 8, 5], 15);
        await agrees(q, k, v, { sink: [200, -Infinity, 0, -50], causal: true });
      });

      it("empty axes", async () => {
        const lse = true;
        for (
          const [B, H, G, N, M, D, E] of [
            [0, 2, 1, 3, 4, 5, 6],
            [1, 0, 0, 3, 4, 5, 6],
            [1, 2, 1, 0, 4, 5, 6],
            [1, 2, 1, 3, 4, 5, 0],
            [1, 2, 1, 3, 0, 5, 6],
          ]
        ) {
          const [q, k, v] = sample([B, H, G, N, M, D, E], 16);
          const got = await attention(q, k, v, { lse });
          expect(got.out.shape).toEqual([B, H, N, E]);
          expect(got.lse!.shape).toEqual([B, H, N]);
          if (M > 0) continue;
          expect(Array.from(got.out.data, Number)).toEqual(new Array(B * H * N * E).fill(0));
          expect(Array.from(got.lse!.data, Number)).toEqual(new Array(B * H * N).fill(-Infinity));
        }
      });

      it("inputs stay as they were, results are new", async () => {
        const [q, k, v] = sample([1, 2, 1, 6, 9, 8, 5], 17);
        const before = [q, k, v].map((t) => t.data.slice());
        const first = await attention(q, k, v, { lse: true });
        const kept = first.out.data.slice();
        const second = await attention(q, k, v, { lse: true });
        expect([q, k, v].map((t) => t.data)).toEqual(before);
        expect(first.out.data).toEqual(kept);
        expect(second).toEqual(first);
        expect(second.out.data.buffer).not.toBe(first.out.data.buffer);
      });
    });

    describe("P", () => {
      has("probabilities")("probabilities are what V is weighted with", async () => {
        const [q, k, v] = sample([1, 2, 1, 6, 9, 8, 5], 18);
        const options = { causal: true, sink: [0.5, -1] };
        const want = formula(q, k, v, options, accuracy);
        const { probabilities } = await attention(q, k, v, { ...options, probabilities: true });
        expect(probabilities!.shape).toEqual([1, 2, 6, 9]);
        // As if V were ones: the bound of each row's sum holds for each weight.
        const ones = { data: new Float32Array(9).fill(1), shape: [1, 1, 9, 1] };
        const bound = formula(q, k, ones, options, accuracy).outBound;
        expect(
          beyond(
            probabilities!.data,
            want.probabilities,
            want.probabilities.map((_, x) => bound[Math.floor(x / 9)]),
          ),
        )
          .toEqual([]);
      });

      has("dropout")("dropout keeps what the generator keeps and divides by 1 − p", async () => {
        const [q, k, v] = sample([2, 2, 1, 6, 40, 8, 5], 19);
        const dropout = { p: 0.3, seed: 2 ** 40 + 77 };
        const { out, lse } = await attention(q, k, v, { dropout, lse: true });
        const plain = formula(q, k, v, {}, accuracy);
        expect(beyond(lse!.data, plain.lse, plain.lseBound)).toEqual([]);
        const want = plain.out.map((_, x) => {
          const [e, i, h, b] = [x % 5, Math.floor(x / 5) % 6, Math.floor(x / 30) % 2, Math.floor(x / 60)];
          let sum = 0;
          for (let j = 0; j < 40; j++) {
            const kept = dropoutDraw(dropoutRow(dropout.seed, b, h, i), j) >= dropoutThreshold(dropout.p);
            if (kept) sum += plain.probabilities[((b * 2 + h) * 6 + i) * 40 + j] / 0.7 * at(v, b, 0, j, e);
          }
          return sum;
        });
        expect(beyond(out.data, want, plain.outBound.map((x) => x / 0.7))).toEqual([]);
      });
    });
  });
}

/** keyLengths that fit the second shape of "each option alone". */
function shortLengths(options: AttentionOptions): AttentionOptions {
  return options.keyLengths ? { keyLengths: [0, 9] } : {};
}
