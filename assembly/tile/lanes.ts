// deno-fmt-ignore-file: deno fmt deletes @inline, and what isn't inlined here halves the loops that call it.
/**
 * Rows of any stored type as float32 lanes. The type is the parameter T: f32, u16 for float16, i16 for bfloat16. Values
 * are decoded in registers, as they are loaded: a pass through L1 costs more than the decoding does.
 */
import { f16_lanes, load_bf16, load_bf16x4, load_f16, load_finite_f16x4 } from "../math/half";

/** Four elements at p; float16 must be finite (finite_f16): the caller takes the scalar twin where it is not. */
// @ts-ignore: decorator
@inline
export function load4<T>(p: usize): v128 {
  if (isFloat<T>()) return v128.load(p);
  return isSigned<T>() ? load_bf16x4(p) : load_finite_f16x4(p);
}

/** The first n = 1, 2 or 3 elements at p, zeros behind: nothing past them is read. */
export function load_tail<T>(p: usize, n: i32): v128 {
  if (isFloat<T>()) {
    if (n == 1) return v128.load32_zero(p);
    const x = v128.load64_zero(p);
    return n == 2 ? x : v128.load_lane<f32>(p, x, 2, 8);
  }
  let words = i32x4.replace_lane(i32x4.splat(0), 0, load<i16>(p));
  if (n > 1) words = i32x4.replace_lane(words, 1, load<i16>(p, 2));
  if (n > 2) words = i32x4.replace_lane(words, 2, load<i16>(p, 4));
  return isSigned<T>() ? i32x4.shl(words, 16) : f16_lanes(i32x4.shl(words, 13));
}

/** The element at p, for scalar twins. */
export function load1<T>(p: usize): f32 {
  if (isFloat<T>()) return load<f32>(p);
  return isSigned<T>() ? load_bf16(p) : load_f16(p);
}

/** [Σa, Σb, Σc, Σd], each (0+2) + (1+3). */
// @ts-ignore: decorator
@inline
export function sums4(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f64>(ab, cd, 0, 2), v128.shuffle<f64>(ab, cd, 1, 3));
}
