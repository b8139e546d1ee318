// deno-fmt-ignore-file: deno fmt deletes @inline
/**
 * Values tile on integers: O[r, e] += (Σ_j P[r, j]·V[j, e])·unit[e]·w[r] for 4 rows, 2·pairs keys, 8·strips columns.
 *
 * p_p: codes of P, pairs along the keys, i16 rows 256 bytes apart; v_p: strips of 8 columns, 64 keys each,
 * [strips][32][8][2] i16; unit_p: one float32 a column; w_p: 4 floats; o_p: float32 rows ldO bytes
 * apart. As many instructions a
 * product as qk_i16_4x8.ts, and for 64 keys one conversion, two multiplications and an addition a sum. pairs ≥ 1, strips ≥ 1.
 *
 * No sum can overflow: at most 64 products of |code of P|·|code of V|, 64·4096·2047 = 536 608 768 at 12 bits,
 * 64·8192·4095 = 2 146 959 360 < 2³¹ with all the bits there are (src/limits.ts, valueLimits).
 */
export function pv_i16_4x8(
  p_p: usize,
  v_p: usize,
  pairs: i32,
  strips: i32,
  unit_p: usize,
  w_p: usize,
  o_p: usize,
  ldO: usize,
): void {
  const end = p_p + ((<usize> pairs) << 2);
  do {
    let o00 = i32x4.splat(0), o01 = i32x4.splat(0);
    let o10 = i32x4.splat(0), o11 = i32x4.splat(0);
    let o20 = i32x4.splat(0), o21 = i32x4.splat(0);
    let o30 = i32x4.splat(0), o31 = i32x4.splat(0);
    let p = p_p;
    let v = v_p;
    do {
      const v0 = v128.load(v), v1 = v128.load(v, 16);
      const p0 = v128.load32_splat(p);
      o00 = i32x4.add(o00, i32x4.dot_i16x8_s(p0, v0));
      o01 = i32x4.add(o01, i32x4.dot_i16x8_s(p0, v1));
      const p1 = v128.load32_splat(p, 256);
      o10 = i32x4.add(o10, i32x4.dot_i16x8_s(p1, v0));
      o11 = i32x4.add(o11, i32x4.dot_i16x8_s(p1, v1));
      const p2 = v128.load32_splat(p, 512);
      o20 = i32x4.add(o20, i32x4.dot_i16x8_s(p2, v0));
      o21 = i32x4.add(o21, i32x4.dot_i16x8_s(p2, v1));
      const p3 = v128.load32_splat(p, 768);
      o30 = i32x4.add(o30, i32x4.dot_i16x8_s(p3, v0));
      o31 = i32x4.add(o31, i32x4.dot_i16x8_s(p3, v1));
      v += 32;
      p += 4;
    } while (p < end);
    const u0 = v128.load(unit_p), u1 = v128.load(unit_p, 16);
    let o = o_p;
    join(o, o00, o01, u0, u1, v128.load32_splat(w_p));
    o += ldO;
    join(o, o10, o11, u0, u1, v128.load32_splat(w_p, 4));
    o += ldO;
    join(o, o20, o21, u0, u1, v128.load32_splat(w_p, 8));
    o += ldO;
    join(o, o30, o31, u0, u1, v128.load32_splat(w_p, 12));
    unit_p += 32;
    o_p += 32;
    v_p += 1024;
  } while (--strips);
}

/** Each operation rounds, in both builds: integer modes give the same bits everywhere. */
// @ts-ignore: decorator
@inline
function join(o_p: usize, a: v128, b: v128, u0: v128, u1: v128, w: v128): void {
  const x = f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(a), u0), w);
  const y = f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(b), u1), w);
  v128.store(o_p, f32x4.add(v128.load(o_p), x));
  v128.store(o_p, f32x4.add(v128.load(o_p, 16), y), 16);
}

/** Scalar twin: the same bits. */
export function pv_i16_4x8_scalar(
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
