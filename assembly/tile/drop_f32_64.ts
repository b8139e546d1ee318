/**
 * Dropout of one row of P, keys from ≤ j < to of a tile (multiples of 4): P[j] = 0 unless u(j0 + j) ≥ threshold, with
 * the draw of src/dropout.ts,
 *
 *   u = j·0x9e3779b9 + k0;  u ^= u >>> 16;  u *= 0x21f0aaad;  u ^= u >>> 15;  u ^= k1;  u *= 0x735a2d97;  u ^= u >>> 15
 *
 * in wrapping 32-bit words, four keys at a time. What is kept isn't divided by 1 − p here: the output is, once a row
 * (finish_f32). l was summed before.
 */
const IOTA: v128 = i32x4(0, 1, 2, 3);
const GOLDEN: i32 = 0x9e3779b9;
const FIRST: i32 = 0x21f0aaad;
const SECOND: i32 = 0x735a2d97;

export function drop_f32_64(
  s_p: usize,
  j0: i32,
  from: i32,
  to: i32,
  k0: i32,
  k1: i32,
  threshold: u32,
): void {
  const a = i32x4.splat(FIRST), b = i32x4.splat(SECOND), key = i32x4.splat(k1);
  const least = i32x4.splat(threshold);
  const step = i32x4.splat(GOLDEN * 4);
  let weyl = i32x4.add(
    i32x4.mul(i32x4.add(i32x4.splat(j0 + from), IOTA), i32x4.splat(GOLDEN)),
    i32x4.splat(k0),
  );
  const end = s_p + ((<usize> to) << 2);
  for (let s = s_p + ((<usize> from) << 2); s < end; s += 16) {
    let u = i32x4.mul(v128.xor(weyl, i32x4.shr_u(weyl, 16)), a);
    u = i32x4.mul(v128.xor(v128.xor(u, i32x4.shr_u(u, 15)), key), b);
    u = v128.xor(u, i32x4.shr_u(u, 15));
    v128.store(s, v128.and(v128.load(s), i32x4.ge_u(u, least)));
    weyl = i32x4.add(weyl, step);
  }
}

/** Scalar twin. */
export function drop_f32_64_scalar(
  s_p: usize,
  j0: i32,
  from: i32,
  to: i32,
  k0: i32,
  k1: i32,
  threshold: u32,
): void {
  for (let j = from; j < to; j++) {
    let u: u32 = (j0 + j) * GOLDEN + k0;
    u = (u ^ (u >>> 16)) * FIRST;
    u = (u ^ (u >>> 15) ^ k1) * SECOND;
    if ((u ^ (u >>> 15)) < threshold) store<f32>(s_p + ((<usize> j) << 2), 0);
  }
}
