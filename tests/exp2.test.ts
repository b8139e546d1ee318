/** exp2 by bit walk: every 997th float32 of the range the softmax uses, against 2^t in float64 (1 ulp of which is 2^-53). */
import { describe, expect, it } from "vitest";
import { deterministicFull as deterministic } from "../src/wasm/full.ts";
import { instantiate } from "../src/wasm/load.ts";

const engine = instantiate(deterministic);
const COUNT = 4096;

function exp2(inputs: Float32Array, scalar = false): Float32Array {
  const { arena, kernels } = engine;
  const mark = arena.mark();
  const src = arena.alloc(COUNT * 4), dst = arena.alloc(COUNT * 4);
  arena.f32(src, inputs.length).set(inputs);
  (scalar ? kernels.exp2_f32_scalar : kernels.exp2_f32)(src, dst, inputs.length);
  const result = arena.f32(dst, inputs.length).slice();
  arena.release(mark);
  return result;
}

/** Calls f with blocks of the float32 whose bits run from `first` to `last` in steps. */
function walk(first: number, last: number, step: number, f: (block: Float32Array) => void): void {
  const bits = new Uint32Array(COUNT);
  for (let at = first; at <= last;) {
    let n = 0;
    for (; n < COUNT && at <= last; n++, at += step) bits[n] = at;
    f(new Float32Array(bits.buffer, 0, n));
  }
}

const bitsOf = (x: number) => new Uint32Array(new Float32Array([x]).buffer)[0]!;

describe("exp2_f32()", () => {
  it("is within 2.5 ulp of 2^t for −126 ≤ t ≤ 16", () => {
    let worst = 0;
    const check = (t: Float32Array) => {
      const got = exp2(t);
      for (let i = 0; i < t.length; i++) {
        const want = 2 ** t[i]!;
        const ulp = 2 ** (Math.floor(t[i]!) - 23);
        worst = Math.max(worst, Math.abs(got[i]! - want) / ulp);
      }
    };
    walk(bitsOf(-0), bitsOf(-126), 997, check);
    walk(bitsOf(0), bitsOf(16), 997, check);
    expect(worst).toBeLessThan(2.5);
    expect(worst).toBeGreaterThan(0.5);
  });

  it("is exact at the points softmax hangs on", () => {
    const t = new Float32Array([0, -0, 1, -1, 8, -126, -Infinity, -1e30, -127, -128, NaN, -3.4e38]);
    expect(Array.from(exp2(t))).toEqual([1, 1, 2, 0.5, 256, 2 ** -126, 0, 0, 0, 0, NaN, 0]);
  });

  it("never falls as t rises by a step of 2^-12", () => {
    let last = 0, falls = 0;
    for (let block = -127; block < 8; block++) {
      const y = exp2(Float32Array.from({ length: COUNT }, (_, i) => block + i / COUNT));
      for (const value of y) {
        if (!(value >= last)) falls++;
        last = value;
      }
    }
    expect(falls).toBe(0);
  });

  it("gives the scalar twin's bits", () => {
    walk(bitsOf(-0), bitsOf(-Infinity), 99991, (t) => expect(exp2(t)).toEqual(exp2(t, true)));
    walk(bitsOf(0), bitsOf(64), 99991, (t) => expect(exp2(t)).toEqual(exp2(t, true)));
  });
});
