/**
 * Values tile: O[r, e] += Σ_j P[r, j]·V[j, e] for 4 rows, `keys` keys, 8·strips columns, j ascending.
 *
 * p_p: rows of P, 256 bytes apart (PV_LD: a compile-time stride puts the four rows into immediate offsets, +5 %);
 * v_p: strips of 8 columns, 64 keys each, [strips][64][8] (pack.ts); o_p: rows ldO bytes apart.
 * 2·4·8 flops a key from 6 loads, four keys a turn in four blocks: the same shape as the scores tile, and its reasons.
 * keys ≥ 1, strips ≥ 1.
 */
import { madd } from "../math/madd";

export function pv_f32_4x8(p_p: usize, v_p: usize, keys: i32, strips: i32, o_p: usize, ldO: usize): void {
  const end = p_p + ((<usize> keys) << 2);
  do {
    const o1 = o_p + ldO;
    const o2 = o1 + ldO;
    const o3 = o2 + ldO;
    let o00 = v128.load(o_p), o01 = v128.load(o_p, 16);
    let o10 = v128.load(o1), o11 = v128.load(o1, 16);
    let o20 = v128.load(o2), o21 = v128.load(o2, 16);
    let o30 = v128.load(o3), o31 = v128.load(o3, 16);
    let p = p_p;
    let v = v_p;
    do {
      {
        const v0 = v128.load(v), v1 = v128.load(v, 16);
        const p0 = v128.load32_splat(p);
        o00 = madd(p0, v0, o00);
        o01 = madd(p0, v1, o01);
        const p1 = v128.load32_splat(p, 256);
        o10 = madd(p1, v0, o10);
        o11 = madd(p1, v1, o11);
        const p2 = v128.load32_splat(p, 512);
        o20 = madd(p2, v0, o20);
        o21 = madd(p2, v1, o21);
        const p3 = v128.load32_splat(p, 768);
        o30 = madd(p3, v0, o30);
        o31 = madd(p3, v1, o31);
        v += 32;
        p += 4;
      }
      if (p >= end) break;
      {
        const v0 = v128.load(v), v1 = v128.load(v, 16);
        const p0 = v128.load32_splat(p);
        o00 = madd(p0, v0, o00);
        o01 = madd(p0, v1, o01);
        const p1 = v128.load32_splat(p, 256);
        o10 = madd(p1, v0, o10);
        o11 = madd(p1, v1, o11);
        const p2 = v128.load32_splat(p, 512);
        o20 = madd(p2, v0, o20);
        o21 = madd(p2, v1, o21);
        const p3 = v128.load32_splat(p, 768);
        o30 = madd(p3, v0, o30);
        o31 = madd(p3, v1, o31);
        v += 32;
        p += 4;
      }
      if (p >= end) break;
      {
        const v0 = v128.load(v), v1 = v128.load(v, 16);
        const p0 = v128.load32_splat(p);
        o00 = madd(p0, v0, o00);
        o01 = madd(p0, v1, o01);
        const p1 = v128.load32_splat(p, 256);
        o10 = madd(p1, v0, o10);
        o11 = madd(p1, v1, o11);
        const p2 = v128.load32_splat(p, 512);
        o20 = madd(p2, v0, o20);
        o21 = madd(p2, v1, o21);
        const p3 = v128.load32_splat(p, 768);
        o30 = madd(p3, v0, o30);
        o31 = madd(p3, v1, o31);
        v += 32;
        p += 4;
      }
      if (p >= end) break;
      {
        const v0 = v128.load(v), v1 = v128.load(v, 16);
        const p0 = v128.load32_splat(p);
        o00 = madd(p0, v0, o00);
        o01 = madd(p0, v1, o01);
        const p1 = v128.load32_splat(p, 256);
        o10 = madd(p1, v0, o10);
        o11 = madd(p1, v1, o11);
        const p2 = v128.load32_splat(p, 512);
        o20 = madd(p2, v0, o20);
        o21 = madd(p2, v1, o21);
        const p3 = v128.load32_splat(p, 768);
        o30 = madd(p3, v0, o30);
        o31 = madd(p3, v1, o31);
        v += 32;
        p += 4;
      }
    } while (p < end);
    v128.store(o_p, o00);
    v128.store(o_p, o01, 16);
    v128.store(o1, o10);
    v128.store(o1, o11, 16);
    v128.store(o2, o20);
    v128.store(o2, o21, 16);
    v128.store(o3, o30);
    v128.store(o3, o31, 16);
    o_p += 32;
    v_p += 2048;
  } while (--strips);
}

/** Scalar twin: the same sums in the same order, the same bits in the deterministic build. */
export function pv_f32_4x8_scalar(
  p_p: usize,
  v_p: usize,
  keys: i32,
  strips: i32,
  o_p: usize,
  ldO: usize,
): void {
  for (let n: i32 = 0; n < strips; n++) {
    for (let r: usize = 0; r < 4; r++) {
      for (let c: usize = 0; c < 8; c++) {
        const at = o_p + r * ldO + (c << 2);
        let o = load<f32>(at);
        for (let j: usize = 0; j < <usize> keys; j++) {
          o += load<f32>(p_p + (r << 8) + (j << 2)) * load<f32>(v_p + (j << 5) + (c << 2));
        }
        store<f32>(at, o);
      }
    }
    o_p += 32;
    v_p += 2048;
  }
}
