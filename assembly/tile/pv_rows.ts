/**
 * Values where they lie: O[r, e] += Σ_j P[r, j]·V[j, e], V row-major with rows ldv bytes apart, j ascending, one madd a
 * step, for 4, 2 or 1 rows of P. Every byte of V is read once, in the order it lies in memory; O stays in L1.
 *
 * p_p: rows 256 bytes apart. o_p: rows ldO bytes apart, padded to 8 floats, the pad may be written.
 */
import { madd } from "../math/madd";
import { load1, load4, load_tail } from "./lanes";

/**
 * 4 rows × 2 keys: a pass over O for two rows of V, 8 weights in registers. The next pair of V rows is touched line by
 * line meanwhile: 20 GB/s from memory at E = 128, without it 9. `more` and the result as in qk4x2.
 */
export function pv4x2<T>(
  p_p: usize,
  v_p: usize,
  ldv: usize,
  keys: i32,
  E: i32,
  o_p: usize,
  ldO: usize,
  more: i32,
): i32 {
  const size = sizeof<T>() << 2;
  const full = E >> 2, rest = E & 3;
  const half = (full + 1) >> 1;
  let touched = 0;
  for (; keys > 1; keys -= 2) {
    const a0 = v128.load32_splat(p_p), b0 = v128.load32_splat(p_p, 4);
    const a1 = v128.load32_splat(p_p, 256), b1 = v128.load32_splat(p_p, 260);
    const a2 = v128.load32_splat(p_p, 512), b2 = v128.load32_splat(p_p, 516);
    const a3 = v128.load32_splat(p_p, 768), b3 = v128.load32_splat(p_p, 772);
    let v = v_p, o = o_p;
    let ahead = keys + more >= 4 ? v_p + (ldv << 1) : v_p;
    let end = v_p + <usize> half * size;
    for (let part = 0; part < 2; part++) {
      let a = ahead;
      for (; v < end; v += size) {
        const x = load4<T>(v), y = load4<T>(v + ldv);
        touched |= load<i32>(a);
        a += size << 1;
        const o1 = o + ldO;
        const o2 = o1 + ldO;
        const o3 = o2 + ldO;
        v128.store(o, madd(b0, y, madd(a0, x, v128.load(o))));
        v128.store(o1, madd(b1, y, madd(a1, x, v128.load(o1))));
        v128.store(o2, madd(b2, y, madd(a2, x, v128.load(o2))));
        v128.store(o3, madd(b3, y, madd(a3, x, v128.load(o3))));
        o += 16;
      }
      ahead += ldv;
      end = v_p + <usize> full * size;
    }
    if (rest) {
      const x = load_tail<T>(v, rest), y = load_tail<T>(v + ldv, rest);
      const o1 = o + ldO;
      const o2 = o1 + ldO;
      const o3 = o2 + ldO;
      v128.store(o, madd(b0, y, madd(a0, x, v128.load(o))));
      v128.store(o1, madd(b1, y, madd(a1, x, v128.load(o1))));
      v128.store(o2, madd(b2, y, madd(a2, x, v128.load(o2))));
      v128.store(o3, madd(b3, y, madd(a3, x, v128.load(o3))));
    }
    p_p += 8;
    v_p += ldv << 1;
  }
  if (keys) {
    pv2x1<T>(p_p, v_p, ldv, 1, E, o_p, ldO);
    pv2x1<T>(p_p + 512, v_p, ldv, 1, E, o_p + (ldO << 1), ldO);
  }
  return touched;
}

/** 2 rows × 1 key at a time. */
export function pv2x1<T>(
  p_p: usize,
  v_p: usize,
  ldv: usize,
  keys: i32,
  E: i32,
  o_p: usize,
  ldO: usize,
): void {
  const full = <usize> (E & ~3) * sizeof<T>(), rest = E & 3;
  for (; keys > 0; keys--) {
    const p = v128.load32_splat(p_p), r = v128.load32_splat(p_p, 256);
    let v = v_p, o = o_p;
    for (const end = v_p + full; v < end; v += sizeof<T>() << 2) {
      const x = load4<T>(v), o1 = o + ldO;
      v128.store(o, madd(p, x, v128.load(o)));
      v128.store(o1, madd(r, x, v128.load(o1)));
      o += 16;
    }
    if (rest) {
      const x = load_tail<T>(v, rest), o1 = o + ldO;
      v128.store(o, madd(p, x, v128.load(o)));
      v128.store(o1, madd(r, x, v128.load(o1)));
    }
    p_p += 4;
    v_p += ldv;
  }
}

/** 1 row × 1 key at a time: 32 GB/s from memory. */
export function pv1x1<T>(p_p: usize, v_p: usize, ldv: usize, keys: i32, E: i32, o_p: usize): void {
  const size = sizeof<T>() << 2;
  const full = <usize> (E & ~3) * sizeof<T>(), blocks = <usize> (E & ~15) * sizeof<T>(), rest = E & 3;
  for (; keys > 0; keys--) {
    const p = v128.load32_splat(p_p);
    let v = v_p, o = o_p;
    for (const end = v_p + blocks; v < end; v += size << 2) {
      v128.store(o, madd(p, load4<T>(v), v128.load(o)));
      v128.store(o, madd(p, load4<T>(v + size), v128.load(o, 16)), 16);
      v128.store(o, madd(p, load4<T>(v + 2 * size), v128.load(o, 32)), 32);
      v128.store(o, madd(p, load4<T>(v + 3 * size), v128.load(o, 48)), 48);
      o += 64;
    }
    for (const end = v_p + full; v < end; v += size) {
      v128.store(o, madd(p, load4<T>(v), v128.load(o)));
      o += 16;
    }
    if (rest) v128.store(o, madd(p, load_tail<T>(v, rest), v128.load(o)));
    p_p += 4;
    v_p += ldv;
  }
}

/** For `rows` 4, 2 or 1; four on 16-bit values as in qk_rows. */
export function pv_rows<T>(
  rows: i32,
  p_p: usize,
  v_p: usize,
  ldv: usize,
  keys: i32,
  E: i32,
  o_p: usize,
  ldO: usize,
  more: i32,
): i32 {
  if (rows == 4) {
    if (sizeof<T>() == 4) return pv4x2<T>(p_p, v_p, ldv, keys, E, o_p, ldO, more);
    pv2x1<T>(p_p, v_p, ldv, keys, E, o_p, ldO);
    pv2x1<T>(p_p + 512, v_p, ldv, keys, E, o_p + (ldO << 1), ldO);
  } else if (rows == 2) pv2x1<T>(p_p, v_p, ldv, keys, E, o_p, ldO);
  else pv1x1<T>(p_p, v_p, ldv, keys, E, o_p);
  return 0;
}

/** Scalar twin of all: the same bits in the deterministic build. */
export function pv_rows_scalar<T>(
  rows: i32,
  p_p: usize,
  v_p: usize,
  ldv: usize,
  keys: i32,
  E: i32,
  o_p: usize,
  ldO: usize,
  _more: i32,
): i32 {
  for (let r = 0; r < rows; r++, p_p += 256, o_p += ldO) {
    for (let e = 0; e < E; e++) {
      const at = <usize> e << 2;
      let sum = load<f32>(o_p + at);
      for (let j = 0; j < keys; j++) {
        const v = load1<T>(v_p + <usize> j * ldv + <usize> e * sizeof<T>());
        sum += load<f32>(p_p + (<usize> j << 2)) * v;
      }
      store<f32>(o_p + at, sum);
    }
  }
  return 0;
}

/** The table's rows: float32. */
export function pv_f32_rows(
  rows: i32,
  p_p: usize,
  v_p: usize,
  ldv: usize,
  keys: i32,
  E: i32,
  o_p: usize,
  ldO: usize,
  more: i32,
): i32 {
  return pv_rows<f32>(rows, p_p, v_p, ldv, keys, E, o_p, ldO, more);
}

export function pv_f32_rows_scalar(
  rows: i32,
  p_p: usize,
  v_p: usize,
  ldv: usize,
  keys: i32,
  E: i32,
  o_p: usize,
  ldO: usize,
  more: i32,
): i32 {
  return pv_rows_scalar<f32>(rows, p_p, v_p, ldv, keys, E, o_p, ldO, more);
}
