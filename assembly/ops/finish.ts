/** The end of the fused forward: O / l and lse of a chunk of rows, from the states that forward_f32 and decode_f32 leave. */
import { exp2, LOG2E } from "../math/exp2";
import { ln } from "../math/ln";
import { addMean } from "./quantised";
import { NATURAL, QUANTISED, SINK_IN_LSE, Task } from "./task";

/**
 * States → results: out [rows][E] (out_p may be o_p), with 28 bytes behind it that are overwritten, and lse [rows]. The
 * sink is a logit that only the denominator sees. A row without keys gives O = 0 and lse = −∞, or the sink.
 */
export function finish_f32(t: Task): void {
  const ldO = (<usize> t.strips) << 5;
  const E = <usize> t.E;
  const quantised = (t.flags & QUANTISED) != 0;
  // lse in natural units: c·S·ln 2 is scale·S, and S itself after the scores pass.
  let unit = t.flags & NATURAL ? 1 : <f64> t.scale, shift: f64 = 0;
  for (let r: usize = 0; r < <usize> t.rows; r++) {
    const codes = load<f32>(t.l_p + (r << 2));
    const l = quantised ? codes / t.top : codes;
    if (quantised && !(t.flags & NATURAL)) {
      unit = <f64> load<f32>(t.unit_p + (r << 2));
      shift = <f64> load<f32>(t.shift_p + (r << 2));
    }
    const m = load<f32>(t.m_p + (r << 2));
    const top = m == -Infinity ? -Infinity : <f64> m * unit + shift;
    // What lse is the logarithm of is total·e^base.
    let w: f32 = 1, total = l, base = top, counted = l;
    if (t.sink_p) {
      const sink = <f64> load<f32>(t.sink_p + (r << 2));
      if (sink > top) {
        const x = (top - sink) * LOG2E;
        // Near the end in two steps: m may lag 2^8 behind, and keys would be cut off that much earlier.
        w = x > -100 ? exp2(<f32> x) : <f32> (<f64> exp2(<f32> (x + 64)) * 5.421010862427522e-20); // 2^-64
        total = l * w + <f32> 1;
        if (t.flags & SINK_IN_LSE) base = sink, counted = total;
      } else if (sink > -Infinity) {
        total = l + exp2(<f32> ((sink - top) * LOG2E));
        if (t.flags & SINK_IN_LSE) counted = total;
      }
    }
    if (t.lse_p) store<f32>(t.lse_p + (r << 2), <f32> logSum(base, counted));
    const o = t.o_p + r * ldO;
    const out = t.out_p + r * (E << 2);
    if (total == 0) {
      memory.fill(out, 0, E << 2);
      continue;
    }
    // What weights_f32 multiplies with.
    store<f32>(t.l_p + (r << 2), w / total * t.keep);
    if (quantised && t.mean_p) addMean(o, t.mean_p, <usize> t.strips, codes);
    divideRow(o, out, t.strips, w, total, t.unscale);
  }
}

/** base + ln l; without a key −∞, unless what was hidden is NaN. */
function logSum(base: f64, l: f32): f64 {
  if (base == -Infinity) return l == 0 ? base : NaN;
  return base + ln(l);
}

/**
 * out = o·w/l·unscale, in whole strips: what they write behind the row's E columns is where the next row goes, and behind
 * the last there has to be room. out may be o, packed tighter.
 */
function divideRow(o: usize, out: usize, strips: i32, w: f32, l: f32, unscale: f32): void {
  const ww = f32x4.splat(w), ll = f32x4.splat(l), uu = f32x4.splat(unscale);
  for (; strips > 0; strips--) {
    const a = v128.load(o), b = v128.load(o, 16);
    v128.store(out, f32x4.mul(f32x4.div(f32x4.mul(a, ww), ll), uu));
    v128.store(out, f32x4.mul(f32x4.div(f32x4.mul(b, ww), ll), uu), 16);
    o += 32;
    out += 32;
  }
}
