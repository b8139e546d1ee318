/**
 * tanh on 4 float32 lanes. |x| < 0.625: odd polynomial (Cephes tanhf), no cancellation near 0; otherwise
 * (1 − e)/(1 + e) with e = 2^(−2·log2e·|x|). ≤ 4 ulp, 2.1 measured; ±∞ → ±1, ±0 → ±0, NaN → NaN.
 */
import { EXP2_TABLE, exp2x4 } from "./exp2";

export function tanhx4(x: v128): v128 {
  const a = f32x4.abs(x);
  const z = f32x4.mul(x, x);
  let p = f32x4.splat(-5.70498872745e-3);
  p = f32x4.add(f32x4.mul(p, z), f32x4.splat(2.06390887954e-2));
  p = f32x4.add(f32x4.mul(p, z), f32x4.splat(-5.37397155531e-2));
  p = f32x4.add(f32x4.mul(p, z), f32x4.splat(1.33314422036e-1));
  p = f32x4.add(f32x4.mul(p, z), f32x4.splat(-3.33332819422e-1));
  const small = f32x4.add(f32x4.mul(f32x4.mul(p, z), x), x);
  const e = exp2x4(
    f32x4.mul(a, f32x4.splat(-2.885390081777927)),
    v128.load(EXP2_TABLE),
    v128.load(EXP2_TABLE, 16),
    v128.load(EXP2_TABLE, 32),
    v128.load(EXP2_TABLE, 48),
    v128.load(EXP2_TABLE, 64),
    v128.load(EXP2_TABLE, 80),
    v128.load(EXP2_TABLE, 96),
    v128.load(EXP2_TABLE, 112),
  );
  const one = f32x4.splat(1);
  const large = f32x4.div(f32x4.sub(one, e), f32x4.add(one, e));
  const sign = v128.and(x, i32x4.splat(0x80000000));
  return v128.or(v128.bitselect(small, large, f32x4.lt(a, f32x4.splat(0.625))), sign);
}

/** dst[i] = tanh(src[i]) for n numbers, n rounded up to 4. */
export function tanh_f32(src_p: usize, dst_p: usize, n: i32): void {
  const end = src_p + ((<usize> n + 3) / 4) * 16;
  for (; src_p < end; src_p += 16, dst_p += 16) v128.store(dst_p, tanhx4(v128.load(src_p)));
}
