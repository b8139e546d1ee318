// deno-fmt-ignore-file: deno fmt deletes @inline, and what isn't inlined here halves the loops that call it.
/**
 * exp2 on 4 float32 lanes and on one: t = n + f, n to nearest even, |f| ≤ ½; 2^t = p(f)·2^n.
 *
 * p is minimax of degree 5 in relative error with p(0) = 1 exactly (so the heaviest key weighs exactly 1): 0.8 ulp
 * before rounding, measured ≤ 2.2 ulp (float32 Horner) on −126 ≤ t ≤ 127.
 * Below −127 and at −∞ exactly 0; between −127 and −126 at most one step of denormals; above 127.5 meaningless,
 * the softmax never goes there; NaN gives NaN. 12 operations for 4 lanes, ≈ 0.5 ns an element.
 */
import { madd } from "./madd";

const P1: f32 = 0.6931470036506653;
const P2: f32 = 0.24022242426872253;
const P3: f32 = 0.05550718680024147;
const P4: f32 = 0.009671554900705814;
const P5: f32 = 0.0013264664448797703;
/** 1.5·2^23 + 127: adding it leaves n + 127, the biased exponent, in the low bits. */
const MAGIC: f32 = 12582912 + 127;
const FLOOR: f32 = -127;

export const LOG2E: f32 = 1.4426950408889634;
export const LN2: f64 = 0.6931471805599453;

/**
 * The constants, each in 4 lanes: V8 ≥ 13.6 rebuilds a v128 constant at every use, which costs more than half of the
 * speed; loads into locals stay in registers.
 */
export const EXP2_TABLE: usize = memory.data<f32>([
  -127,
  -127,
  -127,
  -127,
  12583039,
  12583039,
  12583039,
  12583039,
  0.0013264664448797703,
  0.0013264664448797703,
  0.0013264664448797703,
  0.0013264664448797703,
  0.009671554900705814,
  0.009671554900705814,
  0.009671554900705814,
  0.009671554900705814,
  0.05550718680024147,
  0.05550718680024147,
  0.05550718680024147,
  0.05550718680024147,
  0.24022242426872253,
  0.24022242426872253,
  0.24022242426872253,
  0.24022242426872253,
  0.6931470036506653,
  0.6931470036506653,
  0.6931470036506653,
  0.6931470036506653,
  1,
  1,
  1,
  1,
], 16);

/** n + 127 in the low bits of a float; k1 is the second row of EXP2_TABLE. */
// @ts-ignore: decorator
@inline
export function whole4(t: v128, k1: v128): v128 {
  return f32x4.add(t, k1);
}

/** f = t − n. */
// @ts-ignore: decorator
@inline
export function rest4(t: v128, z: v128, k1: v128): v128 {
  return f32x4.sub(t, f32x4.sub(z, k1));
}

/** 2^n from what whole4 gave. */
// @ts-ignore: decorator
@inline
export function scale4(z: v128): v128 {
  return i32x4.shl(z, 23);
}

/** p(f). */
// @ts-ignore: decorator
@inline
export function poly4(f: v128, k2: v128, k3: v128, k4: v128, k5: v128, k6: v128, k7: v128): v128 {
  return madd(f, madd(f, madd(f, madd(f, madd(f, k2, k3), k4), k5), k6), k7);
}

/** One vector with the constants from locals: k0 … k7 are the rows of EXP2_TABLE. */
// @ts-ignore: decorator
@inline
export function exp2x4(
  t: v128,
  k0: v128,
  k1: v128,
  k2: v128,
  k3: v128,
  k4: v128,
  k5: v128,
  k6: v128,
  k7: v128,
): v128 {
  // pmax(t, k0) = t < k0 ? k0 : t keeps NaN.
  t = f32x4.pmax(t, k0);
  const z = whole4(t, k1);
  return f32x4.mul(poly4(rest4(t, z, k1), k2, k3, k4, k5, k6, k7), scale4(z));
}

/** The same arithmetic on one number: the deterministic build gives the same bits as a lane of exp2x4. */
export function exp2(t: f32): f32 {
  if (t < FLOOR) t = FLOOR;
  const z = t + MAGIC;
  const f = t - (z - MAGIC);
  const p = ((((f * P5 + P4) * f + P3) * f + P2) * f + P1) * f + <f32> 1;
  return p * reinterpret<f32>(reinterpret<i32>(z) << 23);
}

/** dst[i] = 2^src[i] for n numbers, n rounded up to 4: for tests and for anything that wants a plain pass. */
export function exp2_f32(src_p: usize, dst_p: usize, n: i32): void {
  const k0 = v128.load(EXP2_TABLE);
  const k1 = v128.load(EXP2_TABLE, 16);
  const k2 = v128.load(EXP2_TABLE, 32);
  const k3 = v128.load(EXP2_TABLE, 48);
  const k4 = v128.load(EXP2_TABLE, 64);
  const k5 = v128.load(EXP2_TABLE, 80);
  const k6 = v128.load(EXP2_TABLE, 96);
  const k7 = v128.load(EXP2_TABLE, 112);
  const end = src_p + ((<usize> n + 3) / 4) * 16;
  for (; src_p < end; src_p += 16, dst_p += 16) {
    v128.store(dst_p, exp2x4(v128.load(src_p), k0, k1, k2, k3, k4, k5, k6, k7));
  }
}

/** Scalar twin of exp2_f32. */
export function exp2_f32_scalar(src_p: usize, dst_p: usize, n: i32): void {
  for (let i: i32 = 0; i < n; i++) {
    store<f32>(dst_p + (<usize> i << 2), exp2(load<f32>(src_p + (<usize> i << 2))));
  }
}
