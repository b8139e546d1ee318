// deno-fmt-ignore-file: deno fmt deletes @inline
/**
 * Values tile on integers: O[r, e] += (Σ_j P[r, j]·V[j, e])·unit[e]·w[r] for 4 rows, 2·pairs keys, 8·strips columns.
 *
 * p_p: codes of P, pairs along the keys, i16 rows 256 bytes apart; v_p: strips of 8 columns, 64 keys each,
 * [strips][32][8][2] i16; unit_p: one float32 a column; w_p: 4 floats; o_p: float32 rows ldO bytes apart. As many
 * instructions a product as qk_i16_4x16.ts, two rows × two strips at a time for the same reason, and for 64 keys one
 * conversion, two multiplications and an addition a sum. pairs ≥ 1; strips even, ≥ 2.
 *
 * No sum can overflow: at most 64 products of |code of P|·|code of V|, 64·4096·2047 = 536 608 768 at 12 bits,
 * 64·8192·4095 = 2 146 959 360 < 2³¹ with all the bits there are (src/limits.ts, valueLimits).
 */
export function pv_i16_4x16(
  p_p: usize,
  v_p: usize,
  pairs: i32,
  strips: i32,
  unit_p: usize,
  w_p: usize,
  o_p: usize,
  ldO: usize,
): void {
  const size = (<usize> pairs) << 2;
  do {
    for (let r: usize = 0; r < 2; r++) {
      let o00 = i32x4.splat(0), o01 = i32x4.splat(0), o02 = i32x4.splat(0), o03 = i32x4.splat(0);
      let o10 = i32x4.splat(0), o11 = i32x4.splat(0), o12 = i32x4.splat(0), o13 = i32x4.splat(0);
      let p = p_p + (r << 9), v = v_p;
      const end = p + size;
      do {
        const v0 = v128.load(v), v1 = v128.load(v, 16), v2 = v128.load(v, 1024), v3 = v128.load(v, 1040);
        const p0 = v128.load32_splat(p);
        o00 = i32x4.add(o00, i32x4.dot_i16x8_s(p0, v0));
        o01 = i32x4.add(o01, i32x4.dot_i16x8_s(p0, v1));
        o02 = i32x4.add(o02, i32x4.dot_i16x8_s(p0, v2));
        o03 = i32x4.add(o03, i32x4.dot_i16x8_s(p0, v3));
        const p1 = v128.load32_splat(p, 256);
        o10 = i32x4.add(o10, i32x4.dot_i16x8_s(p1, v0));
        o11 = i32x4.add(o11, i32x4.dot_i16x8_s(p1, v1));
        o12 = i32x4.add(o12, i32x4.dot_i16x8_s(p1, v2));
        o13 = i32x4.add(o13, i32x4.dot_i16x8_s(p1, v3));
        v += 32;
        p += 4;
      } while (p < end);
      const u0 = v128.load(unit_p), u1 = v128.load(unit_p, 16), u2 = v128.load(unit_p, 32), u3 = v128.load(unit_p, 48);
      let o = o_p + 2 * r * ldO;
      const w = w_p + (r << 3);
      join(o, o00, o01, o02, o03, u0, u1, u2, u3, v128.load32_splat(w));
      o += ldO;
      // Never so: see qk_i16_4x16.ts (70 → 61 GF-equivalent without it).
      if (!o) return;
      join(o, o10, o11, o12, o13, u0, u1, u2, u3, v128.load32_splat(w, 4));
    }
    unit_p += 64;
    o_p += 64;
    v_p += 2048;
    strips -= 2;
  } while (strips > 0);
}

/** Each operation rounds, in both builds: integer modes give the same bits everywhere. */
// @ts-ignore: decorator
@inline
export function join(
  o: usize,
  a: v128,
  b: v128,
  c: v128,
  d: v128,
  u0: v128,
  u1: v128,
  u2: v128,
  u3: v128,
  w: v128,
): void {
  v128.store(o, f32x4.add(v128.load(o), f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(a), u0), w)));
  v128.store(o, f32x4.add(v128.load(o, 16), f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(b), u1), w)), 16);
  v128.store(o, f32x4.add(v128.load(o, 32), f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(c), u2), w)), 32);
  v128.store(o, f32x4.add(v128.load(o, 48), f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(d), u3), w)), 48);
}

/** Scalar twin: the same bits. */
export function pv_i16_4x16_scalar(
  p_p: usize,
  v_p: usize,
  pairs: i32,
  strips: i32,
  unit_p: usize,
  w_p: usize,
  o_p: usize,
  ldO: usize,
): void {
  for (let c: usize = 0; c < <usize> strips * 8; c++) {
    const v = v_p + ((c >> 3) << 10) + ((c & 7) << 2);
    for (let r: usize = 0; r < 4; r++) {
      let sum: i32 = 0;
      for (let j: usize = 0; j < <usize> pairs; j++) {
        const p = p_p + (r << 8) + (j << 2), vj = v + (j << 5);
        sum += <i32> load<i16>(p) * <i32> load<i16>(vj) + <i32> load<i16>(p, 2) * <i32> load<i16>(vj, 2);
      }
      const at = o_p + r * ldO + (c << 2);
      store<f32>(at, load<f32>(at) + <f32> sum * load<f32>(unit_p + (c << 2)) * load<f32>(w_p + (r << 2)));
    }
  }
}
