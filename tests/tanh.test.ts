/** tanh by bit walk: every 997th float32 from 0 to 12, both signs, against the oracle's float64. */
import { describe, expect, it } from "vitest";
import { tanh } from "../src/reference/math.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";
import { deterministicFull as deterministic, relaxedFull as relaxed } from "../src/wasm/full.ts";
import { instantiate } from "../src/wasm/load.ts";

const COUNT = 4096;
const bitsOf = (x: number) => new Uint32Array(new Float32Array([x]).buffer)[0];

describe.each(hasRelaxedSimd() ? [deterministic, relaxed] : [deterministic])("tanh_f32, $name", (build) => {
  const { arena, kernels } = instantiate(build);
  const src = arena.alloc(COUNT * 4), dst = arena.alloc(COUNT * 4);
  function apply(x: Float32Array): Float32Array {
    arena.f32(src, x.length).set(x);
    kernels.tanh_f32(src, dst, x.length);
    return arena.f32(dst, x.length).slice();
  }

  it("is within 4 ulp, odd and never beyond ±1", () => {
    let worst = 0;
    const bits = new Uint32Array(COUNT);
    const last = bitsOf(12);
    for (let at = 0; at <= last;) {
      let n = 0;
      for (; n < COUNT && at <= last; n++, at += 997) bits[n] = at;
      const x = new Float32Array(bits.buffer, 0, n);
      const y = apply(x);
      const negative = apply(x.map((value) => -value));
      for (let i = 0; i < n; i++) {
        const want = tanh(x[i]);
        const ulp = 2 ** (Math.max(-126, Math.floor(Math.log2(Math.max(want, 2 ** -126)))) - 23);
        worst = Math.max(worst, Math.abs(y[i] - want) / ulp);
        if (!Object.is(negative[i], -y[i]) || y[i] > 1) {
          throw new Error(`tanh(${x[i]}) = ${y[i]}, ${negative[i]}`);
        }
      }
    }
    expect(worst).toBeLessThanOrEqual(4);
    expect(worst).toBeGreaterThan(0.5);
  });

  it("is exact where nothing else would do", () => {
    const x = new Float32Array([0, -0, Infinity, -Infinity, NaN, 20, -3e38, 2 ** -149]);
    expect(Array.from(apply(x))).toEqual([0, -0, 1, -1, NaN, 1, -1, 2 ** -149]);
  });
});
