/**
 * Scores tile on integers: S[r, c] = (Σ_d Q[r, d]·K[c, d])·unit[c] for 4 queries and 8·strips keys.
 *
 * q_p: codes of 4 queries, pairs along d, [D/2][4][2] i16; k_p: strips of 8 keys, [strips][D/2][8][2] i16; unit_p: one
 * float32 a key; s_p: float32, rows 256 bytes apart. One i32x4.dot_i16x8_s and one addition do 8 products, twice what
 * a multiplication and an addition do in float32; 2·4·8·D flop-equivalents a strip of keys. pairs ≥ 1, strips ≥ 1.
 *
 * No sum can overflow: |code| ≤ L with D·L² ≤ 2³¹ − 1 (src/limits.ts, integerLimit), and every partial sum
 * of up to D products is at most D·L² in magnitude. At 12 bits 512·2047² = 2 145 387 008; above D = 512 L shrinks.
 */
export function qk_i16_4x8(
  q_p: usize,
  k_p: usize,
  pairs: i32,
  strips: i32,
  unit_p: usize,
  s_p: usize,
): void {
  const end = q_p + ((<usize> pairs) << 4);
  do {
    let s00 = i32x4.splat(0), s01 = i32x4.splat(0);
    let s10 = i32x4.splat(0), s11 = i32x4.splat(0);
    let s20 = i32x4.splat(0), s21 = i32x4.splat(0);
    let s30 = i32x4.splat(0), s31 = i32x4.splat(0);
    let q = q_p;
    do {
      const k0 = v128.load(k_p), k1 = v128.load(k_p, 16);
      const q0 = v128.load32_splat(q);
      s00 = i32x4.add(s00, i32x4.dot_i16x8_s(q0, k0));
      s01 = i32x4.add(s01, i32x4.dot_i16x8_s(q0, k1));
      const q1 = v128.load32_splat(q, 4);
      s10 = i32x4.add(s10, i32x4.dot_i16x8_s(q1, k0));
      s11 = i32x4.add(s11, i32x4.dot_i16x8_s(q1, k1));
      const q2 = v128.load32_splat(q, 8);
      s20 = i32x4.add(s20, i32x4.dot_i16x8_s(q2, k0));
      s21 = i32x4.add(s21, i32x4.dot_i16x8_s(q2, k1));
      const q3 = v128.load32_splat(q, 12);
      s30 = i32x4.add(s30, i32x4.dot_i16x8_s(q3, k0));
      s31 = i32x4.add(s31, i32x4.dot_i16x8_s(q3, k1));
      k_p += 32;
      q += 16;
    } while (q < end);
    const u0 = v128.load(unit_p), u1 = v128.load(unit_p, 16);
    v128.store(s_p, f32x4.mul(f32x4.convert_i32x4_s(s00), u0));
    v128.store(s_p, f32x4.mul(f32x4.convert_i32x4_s(s01), u1), 16);
    v128.store(s_p, f32x4.mul(f32x4.convert_i32x4_s(s10), u0), 256);
    v128.store(s_p, f32x4.mul(f32x4.convert_i32x4_s(s11), u1), 272);
    v128.store(s_p, f32x4.mul(f32x4.convert_i32x4_s(s20), u0), 512);
    v128.store(s_p, f32x4.mul(f32x4.convert_i32x4_s(s21), u1), 528);
    v128.store(s_p, f32x4.mul(f32x4.convert_i32x4_s(s30), u0), 768);
    v128.store(s_p, f32x4.mul(f32x4.convert_i32x4_s(s31), u1), 784);
    unit_p += 32;
    s_p += 32;
  } while (--strips);
}

/** Scalar twin: integers are exact in any order, the same bits. */
export function qk_i16_4x8_scalar(
  q_p: usize,
  k_p: usize,
  pairs: i32,
  strips: i32,
  unit_p: usize,
  s_p: usize,
): void {
  for (let c: usize = 0; c < <usize> strips * 8; c++) {
    const k = k_p + (c >> 3) * ((<usize> pairs) << 5) + ((c & 7) << 2);
    for (let r: usize = 0; r < 4; r++) {
      let s: i32 = 0;
      for (let d: usize = 0; d < <usize> pairs; d++) {
        const qd = q_p + (d << 4) + (r << 2), kd = k + (d << 5);
        s += <i32> load<i16>(qd) * <i32> load<i16>(kd) + <i32> load<i16>(qd, 2) * <i32> load<i16>(kd, 2);
      }
      store<f32>(s_p + (r << 8) + (c << 2), <f32> s * load<f32>(unit_p + (c << 2)));
    }
  }
}
