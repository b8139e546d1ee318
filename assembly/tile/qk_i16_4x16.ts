/**
 * Scores tile on integers: S[r, c] = (Σ_d Q[r, d]·K[c, d])·unit[c] for 4 queries and 16·strips keys.
 *
 * q_p: codes of 4 queries, pairs along d, [D/2][4][2] i16; k_p: strips of 16 keys, [strips][D/2][16][2] i16; unit_p: one
 * float32 a key; s_p: float32, rows 256 bytes apart. One i32x4.dot_i16x8_s and one addition do 8 products, twice what
 * a multiplication and an addition do in float32; 2·4·16·D flop-equivalents a strip of keys. pairs ≥ 1, strips ≥ 1.
 *
 * Two queries × 16 keys at a time: as fast as 4×8 in V8, and 1.25 times as fast in JavaScriptCore, which pays for each
 * load32_splat. V8 ≤ 12.4 hoists all loads of a basic block; the branch that is never taken keeps those of the second
 * row out of the first's, without it the accumulators spill (74 → 65 GF-equivalent).
 *
 * No sum can overflow: |code| ≤ L with D·L² ≤ 2³¹ − 1 (src/limits.ts, integerLimit), and every partial sum
 * of up to D products is at most D·L² in magnitude. At 12 bits 512·2047² = 2 145 387 008; above D = 512 L shrinks.
 */
export function qk_i16_4x16(
  q_p: usize,
  k_p: usize,
  pairs: i32,
  strips: i32,
  unit_p: usize,
  s_p: usize,
): void {
  const size = (<usize> pairs) << 4;
  do {
    for (let r: usize = 0; r < 2; r++) {
      let s00 = i32x4.splat(0), s01 = i32x4.splat(0), s02 = i32x4.splat(0), s03 = i32x4.splat(0);
      let s10 = i32x4.splat(0), s11 = i32x4.splat(0), s12 = i32x4.splat(0), s13 = i32x4.splat(0);
      let q = q_p + (r << 3), k = k_p;
      const end = q + size;
      do {
        const k0 = v128.load(k), k1 = v128.load(k, 16), k2 = v128.load(k, 32), k3 = v128.load(k, 48);
        const q0 = v128.load32_splat(q);
        s00 = i32x4.add(s00, i32x4.dot_i16x8_s(q0, k0));
        s01 = i32x4.add(s01, i32x4.dot_i16x8_s(q0, k1));
        s02 = i32x4.add(s02, i32x4.dot_i16x8_s(q0, k2));
        s03 = i32x4.add(s03, i32x4.dot_i16x8_s(q0, k3));
        const q1 = v128.load32_splat(q, 4);
        s10 = i32x4.add(s10, i32x4.dot_i16x8_s(q1, k0));
        s11 = i32x4.add(s11, i32x4.dot_i16x8_s(q1, k1));
        s12 = i32x4.add(s12, i32x4.dot_i16x8_s(q1, k2));
        s13 = i32x4.add(s13, i32x4.dot_i16x8_s(q1, k3));
        k += 64;
        q += 16;
      } while (q < end);
      let s = s_p + (r << 9);
      v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s00), v128.load(unit_p)));
      v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s01), v128.load(unit_p, 16)), 16);
      v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s02), v128.load(unit_p, 32)), 32);
      v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s03), v128.load(unit_p, 48)), 48);
      s += 256;
      if (!s) return;
      v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s10), v128.load(unit_p)));
      v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s11), v128.load(unit_p, 16)), 16);
      v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s12), v128.load(unit_p, 32)), 32);
      v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s13), v128.load(unit_p, 48)), 48);
    }
    k_p += size << 2;
    unit_p += 64;
    s_p += 64;
  } while (--strips);
}

/** Scalar twin: integers are exact in any order, the same bits. */
export function qk_i16_4x16_scalar(
  q_p: usize,
  k_p: usize,
  pairs: i32,
  strips: i32,
  unit_p: usize,
  s_p: usize,
): void {
  for (let c: usize = 0; c < <usize> strips * 16; c++) {
    const k = k_p + (c >> 4) * ((<usize> pairs) << 6) + ((c & 15) << 2);
    for (let r: usize = 0; r < 4; r++) {
      let s: i32 = 0;
      for (let d: usize = 0; d < <usize> pairs; d++) {
        const qd = q_p + (d << 4) + (r << 2), kd = k + (d << 6);
        s += <i32> load<i16>(qd) * <i32> load<i16>(kd) + <i32> load<i16>(qd, 2) * <i32> load<i16>(kd, 2);
      }
      store<f32>(s_p + (r << 8) + (c << 2), <f32> s * load<f32>(unit_p + (c << 2)));
    }
  }
}
