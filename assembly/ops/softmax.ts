/**
 * softmax and its logarithm in place: y = e^(x − m)/Σe^(x − m), or x − m − ln Σ, m = max x.
 *
 * Four slices of n elements lie interleaved, [n][4], one after the other; a lane that no slice fills may hold anything.
 * Sums run from the first element to the last. y of −∞ is 0 and −∞; a slice of nothing but −∞ is NaN. Three passes
 * through L1, ≈ 30 operations for 4 elements.
 */
import { exp2, EXP2_TABLE, exp2x4, LOG2E } from "../math/exp2";
import { ln } from "../math/ln";

export function softmax_f32(x_p: usize, groups: i32, n: i32, log: bool): void {
  const k0 = v128.load(EXP2_TABLE);
  const k1 = v128.load(EXP2_TABLE, 16);
  const k2 = v128.load(EXP2_TABLE, 32);
  const k3 = v128.load(EXP2_TABLE, 48);
  const k4 = v128.load(EXP2_TABLE, 64);
  const k5 = v128.load(EXP2_TABLE, 80);
  const k6 = v128.load(EXP2_TABLE, 96);
  const k7 = v128.load(EXP2_TABLE, 112);
  const negInf = f32x4.splat(-Infinity), mark = i32x4.splat(0x80000000);
  const c = f32x4.splat(LOG2E);
  for (; groups > 0; groups--) {
    const end = x_p + ((<usize> n) << 4);
    let m = negInf, sum = f32x4.splat(0);
    for (let x = x_p; x < end; x += 16) m = f32x4.pmax(m, v128.load(x));
    for (let x = x_p; x < end; x += 16) {
      const v = v128.load(x);
      const e = exp2x4(f32x4.mul(f32x4.sub(v, m), c), k0, k1, k2, k3, k4, k5, k6, k7);
      // −∞ − (−∞) is no number; −0 marks what has no weight.
      const seen = v128.bitselect(mark, e, f32x4.eq(v, negInf));
      sum = f32x4.add(sum, seen);
      if (!log) v128.store(x, seen);
    }
    if (log) sum = logs(sum);
    const nothing = f32x4.eq(m, negInf);
    for (; x_p < end; x_p += 16) {
      const v = v128.load(x_p);
      if (log) v128.store(x_p, f32x4.sub(f32x4.sub(v, m), sum));
      // It stays 0 where another element made the sum a NaN, and is NaN where there is nothing else.
      else v128.store(x_p, v128.andnot(f32x4.div(v, sum), v128.andnot(i32x4.eq(v, mark), nothing)));
    }
  }
}

function logs(x: v128): v128 {
  const y = f32x4.replace_lane(x, 0, <f32> ln(f32x4.extract_lane(x, 0)));
  const z = f32x4.replace_lane(y, 1, <f32> ln(f32x4.extract_lane(x, 1)));
  const w = f32x4.replace_lane(z, 2, <f32> ln(f32x4.extract_lane(x, 2)));
  return f32x4.replace_lane(w, 3, <f32> ln(f32x4.extract_lane(x, 3)));
}

/** Scalar twin: the same operations, the same bits in the deterministic build. */
export function softmax_f32_scalar(x_p: usize, groups: i32, n: i32, log: bool): void {
  const size = (<usize> n) << 4;
  for (const last = x_p + <usize> groups * size; x_p < last; x_p += size - 16) {
    for (const lanes = x_p + 16; x_p < lanes; x_p += 4) {
      const end = x_p + size;
      let m: f32 = -Infinity, sum: f32 = 0;
      for (let x = x_p; x < end; x += 16) if (m < load<f32>(x)) m = load<f32>(x);
      for (let x = x_p; x < end; x += 16) sum += weight(load<f32>(x), m);
      if (log) sum = <f32> ln(sum);
      for (let x = x_p; x < end; x += 16) {
        const v = load<f32>(x);
        store<f32>(x, log ? v - m - sum : v == -Infinity && m != -Infinity ? <f32> 0 : weight(v, m) / sum);
      }
    }
  }
}

function weight(x: f32, m: f32): f32 {
  return x == -Infinity ? 0 : exp2((x - m) * LOG2E);
}
