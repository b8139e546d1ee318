// deno-fmt-ignore-file: deno fmt deletes @inline
/**
 * Packing: rows as callers hold them → strips as the tiles read them. One pass over the data, once per panel.
 *
 *   pack_q_f32   Q [rows][D]  → [rows/4][D/64][4][64]  × mul: −1 for a negative scale, 0 for scale 0, else 1
 *   pack_k_f32   K [rows][D]  → [rows/8][D][8]         (d-major: the tile reads 8 keys of one d)
 *   pack_v_f32   V [rows][E]  → [rows/64][E/8][64][8]  × mul, a power of two
 *
 * ld is in elements. Rows that pad a strip are 0 in Q and K, columns in V; columns that pad Q's last 64 and keys that pad
 * V's last tile are never read. A source row may be read up to 12 bytes past its end (the arena has the slack).
 */

/** dst[4][4] = transpose of 4 rows of 4, rows ld bytes apart in dst. */
// @ts-ignore: decorator
@inline
export function transpose4(a: v128, b: v128, c: v128, d: v128, dst: usize, ld: usize): void {
  const ab0 = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
  const cd0 = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
  const ab1 = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
  const cd1 = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
  v128.store(dst, v128.shuffle<f32>(ab0, cd0, 0, 1, 4, 5));
  v128.store(dst + ld, v128.shuffle<f32>(ab0, cd0, 2, 3, 6, 7));
  v128.store(dst + 2 * ld, v128.shuffle<f32>(ab1, cd1, 0, 1, 4, 5));
  v128.store(dst + 3 * ld, v128.shuffle<f32>(ab1, cd1, 2, 3, 6, 7));
}

/** 4 rows of D → [D][8], one half of a strip. `live` of the 4 rows exist. */
function packStrip4(src: usize, ldSrc: usize, live: i32, D: i32, dst: usize): void {
  const r1 = src + ldSrc, r2 = r1 + ldSrc, r3 = r2 + ldSrc;
  let d: i32 = 0;
  if (live == 4) {
    for (; d + 4 <= D; d += 4) {
      const at = <usize> d << 2;
      transpose4(
        v128.load(src + at),
        v128.load(r1 + at),
        v128.load(r2 + at),
        v128.load(r3 + at),
        dst + (at << 3),
        32,
      );
    }
  }
  for (; d < D; d++) {
    const at = <usize> d << 2;
    const to = dst + (at << 3);
    store<f32>(to, live > 0 ? load<f32>(src + at) : 0);
    store<f32>(to, live > 1 ? load<f32>(r1 + at) : 0, 4);
    store<f32>(to, live > 2 ? load<f32>(r2 + at) : 0, 8);
    store<f32>(to, live > 3 ? load<f32>(r3 + at) : 0, 12);
  }
}

/** Bytes of a packed row of Q. */
export function rowQ(D: i32): usize {
  return (<usize> ((D + 63) & ~63)) << 2;
}

export function pack_q_f32(src_p: usize, ld: i32, rows: i32, D: i32, dst_p: usize, mul: f32): void {
  const m = f32x4.splat(mul), skip = (rowQ(D) << 2) - 768;
  for (let i: i32 = 0; i < ((rows + 3) & ~3); i++) {
    let dst = dst_p;
    for (let d: i32 = 0; d < D; d += 64) {
      const src = src_p + (<usize> d << 2);
      for (let e: usize = 0; e < <usize> min(D - d, 64) << 2; e += 16) {
        v128.store(dst + e, i < rows ? f32x4.mul(v128.load(src + e), m) : f32x4.splat(0));
      }
      dst += 1024;
    }
    src_p += (<usize> ld) << 2;
    dst_p += (i & 3) == 3 ? skip : 256;
  }
}

export function pack_k_f32(src_p: usize, ld: i32, rows: i32, D: i32, dst_p: usize): void {
  const ldSrc = (<usize> ld) << 2;
  for (let i: i32 = 0; i < rows; i += 8) {
    packStrip4(src_p, ldSrc, min(rows - i, 4), D, dst_p);
    packStrip4(src_p + ldSrc * 4, ldSrc, min(rows - i - 4, 4), D, dst_p + 16);
    src_p += ldSrc * 8;
    dst_p += (<usize> D) << 5;
  }
}

/**
 * `row0` is the row of the panel that src_p's first row becomes: a panel may arrive in slices. Returns what max_bits_f32
 * does, of the rows before `mul`: the pass is bound by memory, and one in place of two.
 */
export function pack_v_f32(
  src_p: usize,
  ld: i32,
  rows: i32,
  E: i32,
  dst_p: usize,
  row0: i32,
  mul: f32,
): i32 {
  const m = f32x4.splat(mul);
  const magnitude = i32x4.splat(0x7fffffff);
  let top = i32x4.splat(0);
  let last: i32 = 0;
  const whole = E >> 3;
  const tail = E & 7;
  const tile = (<usize> ((E + 7) >> 3)) << 11;
  for (let i: i32 = row0; i < row0 + rows; i++) {
    let src = src_p;
    let dst = dst_p + (<usize> (i >> 6)) * tile + ((<usize> (i & 63)) << 5);
    for (let n: i32 = 0; n < whole; n++) {
      const a = v128.load(src), b = v128.load(src, 16);
      top = i32x4.max_s(top, i32x4.max_s(v128.and(a, magnitude), v128.and(b, magnitude)));
      v128.store(dst, f32x4.mul(a, m));
      v128.store(dst, f32x4.mul(b, m), 16);
      src += 32;
      dst += 2048;
    }
    if (tail) {
      for (let c: i32 = 0; c < 8; c++) {
        const at = src + ((<usize> c) << 2);
        if (c < tail) last = max(last, load<i32>(at) & 0x7fffffff);
        store<f32>(dst + ((<usize> c) << 2), c < tail ? load<f32>(at) * mul : 0);
      }
    }
    src_p += (<usize> ld) << 2;
  }
  return largest(top, last);
}

function largest(a: v128, last: i32): i32 {
  return max(
    max(max(i32x4.extract_lane(a, 0), i32x4.extract_lane(a, 1)), last),
    max(i32x4.extract_lane(a, 2), i32x4.extract_lane(a, 3)),
  );
}

/**
 * Largest |x| among rows of E, as the bits of a float32 (bits of positive floats order like the numbers, NaN above
 * ∞ above every finite): one pass answers both "is there anything non-finite" (≥ 0x7f800000) and "how large".
 */
export function max_bits_f32(src_p: usize, ld: i32, rows: i32, E: i32): i32 {
  const magnitude = i32x4.splat(0x7fffffff);
  let a = i32x4.splat(0), b = i32x4.splat(0);
  let last: i32 = 0;
  for (let i: i32 = 0; i < rows; i++) {
    let src = src_p;
    let e: i32 = 0;
    for (; e + 8 <= E; e += 8) {
      a = i32x4.max_s(a, v128.and(v128.load(src), magnitude));
      b = i32x4.max_s(b, v128.and(v128.load(src, 16), magnitude));
      src += 32;
    }
    for (; e < E; e++) {
      last = max(last, load<i32>(src) & 0x7fffffff);
      src += 4;
    }
    src_p += (<usize> ld) << 2;
  }
  return largest(i32x4.max_s(a, b), last);
}
