/** Bounds where a sink, or a bias like −3.4e38, is far from the scores. */
import { describe, expect, it } from "vitest";
import { createBackwardProblem } from "../src/gradients.ts";
import type { AttentionOptions } from "../src/options.ts";
import { createProblem } from "../src/problem.ts";
import { attention } from "../src/reference/attention.ts";
import { backward } from "../src/reference/backward.ts";
import { expm1 } from "../src/reference/math.ts";
import { FLOAT32, FLOAT64 } from "../src/verify/arithmetic.ts";
import { forwardBounds } from "../src/verify/bounds.ts";
import { gradientBounds } from "../src/verify/gradients.ts";
import { normal } from "./support/tensors.ts";

const [q, k, v, dO, dLse] = [1, 2, 3, 4, 5].map((seed) => normal(seed, [1, 2, 6, 4]));
const task = (options: AttentionOptions) => {
  const { out, lse } = attention(q, k, v, { ...options, lse: true });
  const rowGradient = { data: dLse.data.slice(0, 12), shape: [1, 2, 6] };
  return createBackwardProblem(q, k, v, out, lse!, dO, { ...options, dLse: rowGradient });
};
const double = (data: number[], shape: number[]) => ({ data: Float64Array.from(data), shape });

describe("a sink far below or above the scores", () => {
  const sinks = [[-1e30, -3.4e38], [1e30, -1e4], [1e4, 1e4], [-Infinity, -1e30]];
  it.each(sinks.flatMap((sink) => [true, false].map((lseIncludesSink) => ({ sink, lseIncludesSink }))))(
    "$sink, lse with it: $lseIncludesSink: what it can't reach has the bounds it would have without",
    ({ sink, lseIncludesSink }) => {
      const options = { sink, semantics: { lseIncludesSink } };
      for (const arithmetic of [FLOAT32, FLOAT64]) {
        const { out, lse } = forwardBounds(createProblem(q, k, v, options), arithmetic);
        const { dq, dk, dv, dSink } = gradientBounds(task(options), arithmetic);
        for (const bounds of [out, lse, dq, dk, dv, dSink]) {
          expect(bounds.every((bound) => bound >= 0)).toBe(true);
        }
        const alone = forwardBounds(createProblem(q, k, v), arithmetic);
        sink.forEach((value, h) => {
          if (value > -1e4) return;
          for (let i = 6 * h; i < 6 * h + 6; i++) expect(lse[i]).toBeLessThanOrEqual(alone.lse[i] * 1.5);
          for (let i = 24 * h; i < 24 * h + 24; i++) expect(out[i]).toBeLessThanOrEqual(alone.out[i] * 1.5);
        });
      }
    },
  );

  it("is all there is of lse where a row sees no key", () => {
    const empty = createProblem(q, k, v, { sink: [0.1, -7], keyLengths: [0] });
    const { lse } = forwardBounds(empty, FLOAT32);
    expect([...lse].every((bound) => bound > 0 && bound < 1e-5)).toBe(true);
  });

  it("rounds each score in the oracle, which subtracts it", () => {
    // o = e^(b0 − 68) − e^(b1 − 68) with b1 close to b0, so that almost only roundings of b − 68 are left.
    const one = (data: number[], shape: number[]) => double(data, [1, 1, ...shape]);
    const zero = one([0], [1, 1]);
    for (let n = 1; n <= 50; n++) {
      const bias = [n / 7, n / 7 + 1e-10];
      const inputs = [zero, one([0, 0], [2, 1]), one([1, -1], [2, 1])] as const;
      const options = { sink: [68], bias: one(bias, [1, 2]) };
      const expected = -Math.exp(bias[0] - 68) * expm1(bias[1] - bias[0]);
      const got = attention(...inputs, options).out.data[0] as number;
      const { out } = forwardBounds(createProblem(...inputs, options), FLOAT64);
      expect(Math.abs(got - expected)).toBeLessThanOrEqual(out[0]);
    }
  });
});

it("P is at most 1 in the oracle even where lse has lost ln l", () => {
  const rows = task({ bias: double(Array(6).fill(-3.4e38), [6]) });
  const bounds = gradientBounds(rows, FLOAT64);
  for (const name of ["dq", "dk", "dv"] as const) {
    expect(bounds[name].every((bound) => bound < 100)).toBe(true);
  }
  // All keys weigh 1/6 in truth, and 1 by what lse can tell: dV = PᵀdO is off by 5/6 of Σ dO, and that is covered.
  const got = backward(rows).dv.data;
  const exact = backward(task({ scale: 0 })).dv.data;
  bounds.dv.forEach((bound, x) =>
    expect(Math.abs(Number(got[x]) - Number(exact[x]))).toBeLessThanOrEqual(bound)
  );
});
