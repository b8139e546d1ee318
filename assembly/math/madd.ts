// deno-fmt-ignore-file: deno fmt deletes @inline, and what isn't inlined here halves the loops that call it.
/**
 * madd: a·b + c on 4 float32 lanes, the one operation in which the two builds differ.
 *
 * Deterministic: two roundings, error ≤ ½ ulp(a·b) + ½ ulp of the sum. Relaxed: the engine may fuse, one rounding.
 */

// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** 1 in the relaxed build, 0 in the deterministic one: the loader checks that it holds what it was told. */
export function relaxed(): i32 {
  return ASC_FEATURE_RELAXED_SIMD ? 1 : 0;
}
