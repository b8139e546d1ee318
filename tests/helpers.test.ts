/** What models do around attention: slopes, QK-norm, rotary embedding. */
import { describe, expect, it } from "vitest";
import { alibiSlopes, applyRotary, attention, qkNorm, type RotaryTables } from "../src/reference/index.ts";
import { type Made, normal, transposed, wide } from "./support/tensors.ts";
import { expectThrow } from "./support/throws.ts";

describe("alibiSlopes", () => {
  it("are powers of two for up to 8 heads: the paper's list", () => {
    expect(Array.from(alibiSlopes(8))).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((n) => 2 ** -n));
    expect(Array.from(alibiSlopes(1))).toEqual([2 ** -8]);
    expect(Array.from(alibiSlopes(0))).toEqual([]);
  });

  it("of 12 heads are those of 8 and every other of 16: the published get_slopes", () => {
    const sixteen = alibiSlopes(16);
    expect(Array.from(alibiSlopes(12))).toEqual([
      ...alibiSlopes(8),
      sixteen[0],
      sixteen[2],
      sixteen[4],
      sixteen[6],
    ]);
    // 2^−½ to half an ulp
    expect(sixteen[0]).toBe(Math.SQRT1_2);
  });

  it("ggml's max_bias: m0^(h+1) and m1^(2(h−n)+1); 0 makes all one", () => {
    for (const [H, maxBias] of [[6, 4], [5, 16], [32, 8], [71, 3]]) {
      const n = 2 ** Math.floor(Math.log2(H));
      const [m0, m1] = [2 ** (-maxBias / n), 2 ** (-maxBias / 2 / n)];
      alibiSlopes(H, maxBias).forEach((slope, h) => {
        const want = h < n ? m0 ** (h + 1) : m1 ** (2 * (h - n) + 1);
        // the power of a rounded power: up to 143 times its rounding
        expect(Math.abs(slope - want)).toBeLessThanOrEqual(150 * 2 ** -53 * want);
      });
    }
    expect(Array.from(alibiSlopes(3, 0))).toEqual([1, 1, 1]);
  });

  it("takes integers", () => {
    expectThrow(
      () => alibiSlopes(1.5),
      RangeError,
      "heads: expected an integer from 0 to 1073741824, got 1.5",
    );
    expectThrow(
      () => alibiSlopes("8" as never),
      TypeError,
      'heads: expected an integer from 0 to 1073741824, got "8"',
    );
    expectThrow(() => alibiSlopes(8, NaN), RangeError, "maxBias: expected a finite number, got NaN");
  });
});

describe("qkNorm", () => {
  const x = normal(1, [2, 3, 4, 5]);

  it("makes the mean square of every head one, and weighs its dims", () => {
    const y = qkNorm(x, undefined, { eps: 0 });
    expect(y.shape).toEqual(x.shape);
    const weighed = qkNorm(x, [1, 2, 3, 4, 5], { eps: 0 }).data;
    for (let row = 0; row < 24; row++) {
      const head = Array.from(y.data.slice(row * 5, row * 5 + 5));
      // 5 squares, their sum, a root and a division: below 16 roundings
      expect(Math.abs(head.reduce((sum, value) => sum + value * value, 0) / 5 - 1)).toBeLessThanOrEqual(
        16 * 2 ** -53,
      );
      head.forEach((value, d) => expect(weighed[row * 5 + d]).toBe(value * (d + 1)));
    }
  });

  it("eps keeps zeros apart from infinity: 1e-6 unless told", () => {
    const tiny = { data: Float64Array.of(0, 1e-3), shape: [2] };
    const [zero, some] = qkNorm(tiny).data;
    expect(zero).toBe(0);
    expect(Math.abs(some - 1e-3 / Math.sqrt(1.5e-6))).toBeLessThanOrEqual(8 * 2 ** -53);
  });

  it("says what is wrong", () => {
    expectThrow(() => qkNorm(x, [1, 2]), RangeError, "weight: expected [D] = [5], got [2]");
    expectThrow(() => qkNorm(x, undefined, { eps: -1 }), RangeError, "eps: expected a number ≥ 0, got -1");
    expectThrow(
      () => qkNorm({ data: new Float32Array(1), shape: [] }),
      RangeError,
      "x: expected [..., D], got []",
    );
  });
});

describe("applyRotary", () => {
  const [B, H, N, D] = [2, 3, 4, 8];
  const x = wide(normal(2, [B, H, N, D]));
  const tables = (R: number, positions = 40): Pick<RotaryTables, "cos" | "sin"> => {
    const angles = Float64Array.from(
      { length: positions * R / 2 },
      (_, at) => Math.floor(at / (R / 2)) * 10 ** (-2 * (at % (R / 2)) / R),
    );
    const shape = [positions, R / 2];
    return { cos: { data: angles.map(Math.cos), shape }, sin: { data: angles.map(Math.sin), shape } };
  };
  const turned = (options: Partial<RotaryTables> = {}, R = D) =>
    applyRotary(x, { ...tables(R), ...options }).data;

  it("turns each pair by its angle: half-split, interleaved, partial", () => {
    for (const R of [8, 4, 2]) {
      for (const interleaved of [false, true]) {
        const y = turned({ interleaved, positions: 5 }, R);
        const { cos, sin } = tables(R);
        for (let row = 0; row < B * H * N; row++) {
          const p = 5 + row % N;
          for (let d = 0; d < R / 2; d++) {
            const [a, b] = interleaved ? [2 * d, 2 * d + 1] : [d, d + R / 2];
            const [c, s] = [cos, sin].map((t) => (t.data as Float64Array)[p * R / 2 + d]);
            const [xa, xb] = [x.data[row * D + a], x.data[row * D + b]];
            expect(y[row * D + a]).toBe(xa * c - xb * s);
            expect(y[row * D + b]).toBe(xb * c + xa * s);
          }
          for (let d = R; d < D; d++) expect(y[row * D + d]).toBe(x.data[row * D + d]);
        }
      }
    }
  });

  it("position 0 changes nothing, and scores depend on the distance alone", () => {
    expect(turned({ positions: [0, 0, 0, 0] })).toEqual(x.data);
    const at = (first: number) => ({ data: turned({ positions: first }) as Float64Array, shape: x.shape });
    const score = (q: Made, k: Made) => attention(q, k, x, { causal: true }).out.data as Float64Array;
    const near = score(at(0), at(0));
    const far = score(at(30), at(30));
    // sums of 8 products of rounded angles, |x| and scores below 10: well below 2^−44
    near.forEach((value, i) => expect(Math.abs(value - far[i])).toBeLessThanOrEqual(2 ** -44));
  });

  it("positions: the first, [N], or [B,N]", () => {
    const want = turned({ positions: 3 });
    expect(turned({ positions: [3, 4, 5, 6] })).toEqual(want);
    expect(turned({ positions: { data: Int32Array.of(3, 4, 5, 6, 3, 4, 5, 6), shape: [2, 4] } })).toEqual(
      want,
    );
    const mixed = turned({ positions: { data: Int32Array.of(3, 4, 5, 6, 0, 0, 0, 0), shape: [2, 4] } });
    expect(mixed.slice(0, 96)).toEqual(want.slice(0, 96));
    expect(mixed.slice(96)).toEqual(x.data.slice(96));
  });

  it("bnhd is bhnd with axes swapped", () => {
    const swapped = applyRotary(transposed(x), { ...tables(4), positions: 7, layout: "bnhd" });
    expect(transposed(swapped as Made).data).toEqual(turned({ positions: 7 }, 4));
  });

  it("says what is wrong", () => {
    const { cos, sin } = tables(8, 4);
    const fail = (
      options: Partial<RotaryTables>,
      Class: typeof TypeError | typeof RangeError,
      message: string,
    ) => expectThrow(() => applyRotary(x, { cos, sin, ...options }), Class, message);
    fail({ positions: 1 }, RangeError, "positions[3]: expected an integer from 0 to 3, got 4");
    fail({ positions: [0, 1, -1, 0] }, RangeError, "positions[2]: expected an integer from 0 to 3, got -1");
    fail({ positions: [0, 1] }, RangeError, "positions: expected [N] or [B,N] = [4], got [2]");
    fail({ positions: 0.5 }, RangeError, "positions[0]: expected an integer from 0 to 3, got 0.5");
    fail(
      { sin: tables(4, 4).sin },
      RangeError,
      "sin: expected [positions,R/2] with positions=4, R/2=4, got [4,2]",
    );
    fail(tables(10, 4), RangeError, "cos: expected [positions,R/2] with R ≤ 8, got [4,5]");
    fail({ interleaved: 1 as never }, TypeError, "interleaved: expected false, true, got 1");
    fail({ layout: "thd" as "bhnd" }, RangeError, 'layout: expected "bhnd", "bnhd", got "thd"');
    expectThrow(
      () => applyRotary(normal(1, [4, 8]), { cos, sin }),
      RangeError,
      "x: expected [B,H,N,D], got [4,8]",
    );
  });
});
