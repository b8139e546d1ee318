// deno-fmt-ignore-file: deno fmt deletes @inline
/**
 * The integer tiles on 7-bit codes in bytes, 16 products an instruction: relaxed build only, the same integers (and so the
 * same bits) as qk_i16_4x16 and pv_i16_4x16 on the same codes.
 *
 * i16x8.relaxed_dot_i8x16_i7x16_s(a, b) multiplies bytes and adds pairs into 16 bits. It means the same on every machine
 * only if b is in 0 … 127 and no pair saturates. Here two of its results are added before they are widened:
 *
 *   QKᵀ   a = q, |q| ≤ 63; b = k + 64, 1 … 127:    4·63·127 = 32 004 ≤ 32 767      Σq·k = Σq·(k + 64) − 64·Σq
 *   P·V   a = v, |v| ≤ 63; b = p, 0 … 127:         4·63·127 = 32 004
 *
 * so 32 products cost 2 dots, an addition, and a dot with ones and an addition to reach 32 bits, where i16 lanes need 8
 * instructions: 110 GF-equivalent instead of 77 (Node 24). True int8 has room for neither the offset nor the addition.
 * −64·Σq is where the accumulators of a row start (sum_p, one int32 a row). 32-bit sums: 1024·63·127 < 2²³ at D = 1024.
 *
 *   Q [rows/4][D/4][4][4]    K [keys/16][D/4][16][4]    V [tiles][strips][16][8][4]    P rows of bytes, 256 apart
 */
import { join } from "./pv_i16_4x16";

const ONES: usize = memory.data<i16>([1, 1, 1, 1, 1, 1, 1, 1], 16);

/** D is a multiple of 8: quads = D/4. Else as qk_i16_4x16. */
export function qk_i8_4x16(
  q_p: usize,
  k_p: usize,
  quads: i32,
  strips: i32,
  unit_p: usize,
  sum_p: usize,
  s_p: usize,
): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const ones = v128.load(ONES);
    const size = (<usize> quads) << 4;
    do {
      for (let r: usize = 0; r < 2; r++) {
        let s00 = v128.load32_splat(sum_p + (r << 3)), s01 = s00, s02 = s00, s03 = s00;
        let s10 = v128.load32_splat(sum_p + (r << 3), 4), s11 = s10, s12 = s10, s13 = s10;
        let q = q_p + (r << 3), k = k_p;
        const end = q + size;
        do {
          const a0 = v128.load32_splat(q), b0 = v128.load32_splat(q, 16);
          const a1 = v128.load32_splat(q, 4), b1 = v128.load32_splat(q, 20);
          let x = v128.load(k), y = v128.load(k, 64);
          s00 = four(s00, a0, x, b0, y, ones);
          s10 = four(s10, a1, x, b1, y, ones);
          x = v128.load(k, 16), y = v128.load(k, 80);
          s01 = four(s01, a0, x, b0, y, ones);
          s11 = four(s11, a1, x, b1, y, ones);
          x = v128.load(k, 32), y = v128.load(k, 96);
          s02 = four(s02, a0, x, b0, y, ones);
          s12 = four(s12, a1, x, b1, y, ones);
          x = v128.load(k, 48), y = v128.load(k, 112);
          s03 = four(s03, a0, x, b0, y, ones);
          s13 = four(s13, a1, x, b1, y, ones);
          k += 128;
          q += 32;
        } while (q < end);
        const s = s_p + (r << 9);
        v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s00), v128.load(unit_p)));
        v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s01), v128.load(unit_p, 16)), 16);
        v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s02), v128.load(unit_p, 32)), 32);
        v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s03), v128.load(unit_p, 48)), 48);
        v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s10), v128.load(unit_p)), 256);
        v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s11), v128.load(unit_p, 16)), 272);
        v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s12), v128.load(unit_p, 32)), 288);
        v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(s13), v128.load(unit_p, 48)), 304);
      }
      k_p += size << 2;
      unit_p += 64;
      s_p += 64;
    } while (--strips);
  }
}

/** quads of keys, even: P is 0 where there is no key. Else as pv_i16_4x16. */
export function pv_i8_4x16(
  p_p: usize,
  v_p: usize,
  quads: i32,
  strips: i32,
  unit_p: usize,
  w_p: usize,
  o_p: usize,
  ldO: usize,
): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const ones = v128.load(ONES);
    const size = (<usize> quads) << 2;
    do {
      for (let r: usize = 0; r < 2; r++) {
        let o00 = i32x4.splat(0), o01 = o00, o02 = o00, o03 = o00, o10 = o00, o11 = o00, o12 = o00, o13 = o00;
        let p = p_p + (r << 9), v = v_p;
        const end = p + size;
        do {
          const a0 = v128.load32_splat(p), b0 = v128.load32_splat(p, 4);
          const a1 = v128.load32_splat(p, 256), b1 = v128.load32_splat(p, 260);
          let x = v128.load(v), y = v128.load(v, 32);
          o00 = four(o00, x, a0, y, b0, ones);
          o10 = four(o10, x, a1, y, b1, ones);
          x = v128.load(v, 16), y = v128.load(v, 48);
          o01 = four(o01, x, a0, y, b0, ones);
          o11 = four(o11, x, a1, y, b1, ones);
          x = v128.load(v, 512), y = v128.load(v, 544);
          o02 = four(o02, x, a0, y, b0, ones);
          o12 = four(o12, x, a1, y, b1, ones);
          x = v128.load(v, 528), y = v128.load(v, 560);
          o03 = four(o03, x, a0, y, b0, ones);
          o13 = four(o13, x, a1, y, b1, ones);
          v += 64;
          p += 8;
        } while (p < end);
        const u0 = v128.load(unit_p), u1 = v128.load(unit_p, 16), u2 = v128.load(unit_p, 32), u3 = v128.load(unit_p, 48);
        const o = o_p + 2 * r * ldO, w = w_p + (r << 3);
        join(o, o00, o01, o02, o03, u0, u1, u2, u3, v128.load32_splat(w));
        join(o + ldO, o10, o11, o12, o13, u0, u1, u2, u3, v128.load32_splat(w, 4));
      }
      unit_p += 64;
      o_p += 64;
      v_p += 1024;
      strips -= 2;
    } while (strips > 0);
  }
}

/** sum + Σ over four bytes of each 32-bit lane, twice. */
// @ts-ignore: decorator
@inline
function four(sum: v128, a: v128, b: v128, c: v128, d: v128, ones: v128): v128 {
  const pairs = i16x8.add(i16x8.relaxed_dot_i8x16_i7x16_s(a, b), i16x8.relaxed_dot_i8x16_i7x16_s(c, d));
  return i32x4.add(sum, i32x4.dot_i16x8_s(pairs, ones));
}

/**
 * Codes as tile/quantise.ts packs them, [count][2][w][2] i16, plus `offset` → [count][w][4] bytes. May be in place. Where sum_p
 * isn't 0, w is 4 and −64·Σ of each row goes there, for rows of `quads`.
 */
export function narrow_i8(
  src: usize,
  dst: usize,
  count: i32,
  w: i32,
  offset: i32,
  sum_p: usize,
  quads: i32,
): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const row = (<usize> w) << 2, plus = i8x16.splat(<i8> offset);
    let sum = i32x4.splat(0);
    for (let left = quads; count > 0; count--, src += row) {
      for (const end = src + row; src < end; src += 16, dst += 16) {
        const x = i8x16.narrow_i16x8_s(v128.load(src), v128.load(src + row));
        const codes = v128.shuffle<i16>(x, x, 0, 4, 1, 5, 2, 6, 3, 7);
        sum = i32x4.add(sum, i32x4.extadd_pairwise_i16x8_s(i16x8.extadd_pairwise_i8x16_s(codes)));
        v128.store(dst, i8x16.add(codes, plus));
      }
      if (sum_p && --left == 0) {
        v128.store(sum_p, i32x4.shl(i32x4.neg(sum), 6));
        sum_p += 16;
        sum = i32x4.splat(0);
        left = quads;
      }
    }
  }
}

/** Codes of P of four rows, i16 → bytes in place; rows 256 bytes apart. */
export function narrowRows(s_p: usize, from: i32, to: i32): void {
  for (let r: usize = 0; r < 1024; r += 256) {
    let src = s_p + r + ((<usize> from) << 1);
    const end = s_p + r + <usize> to;
    for (let dst = s_p + r + <usize> from; dst < end; dst += 16, src += 32) {
      v128.store(dst, i8x16.narrow_i16x8_s(v128.load(src), v128.load(src, 16)));
    }
  }
}
