// deno-fmt-ignore-file: deno fmt deletes @inline
/**
 * Quantising while packing: float32 rows → 16-bit codes and their units, x ≈ code·unit, in the order the tiles read.
 *
 *   unit = amax/L     code = round(x·(L/amax)), ties to even, |code| ≤ L            amax counts as at least L·2^−126
 *
 *   pack_rows_i16   Q, K [rows][D] → [rows/w][⌈D/2⌉][w][2], w = 4 or 16     a unit for each row
 *   pack_v_i16      V [rows][E]    → [rows/64][2·⌈E/16⌉][32][8][2]         a unit for each 64 rows of a column
 *
 * The codes and units of src/reference/quantise.ts bit for bit. Adding 1.5·2^23 leaves the rounded number in the low
 * bits. ld is in elements; a row may be read up to 28 bytes past its end. Rows that don't count (their byte of seen_p
 * is 0, or they pad a strip) get codes 0, whatever they hold. mean_p [columns] is subtracted first.
 */
import { transpose4 } from "./pack";

/** 1.5·2^23: reinterpreted, x + MAGIC is MAGIC's bits plus round(x) for |x| < 2^22. */
const MAGIC: f32 = 12582912;
const MAGIC_BITS: i32 = 0x4b400000;
const SMALLEST: f32 = 1.1754943508222875e-38;

/**
 * Σ of each column, added to the float64 at sums_p in ascending order of rows; returns the bits of the largest |x|, as
 * max_bits_f32 gives them, or more. Only rows whose byte of seen_p is not 0 (seen_p 0: all). Works on 8 columns at a
 * time: sums_p has room for them, rows are read up to 28 bytes past their end and what is there counts as |x|.
 */
export function column_sums_f32(
  src_p: usize,
  ld: i32,
  rows: i32,
  columns: i32,
  seen_p: usize,
  sums_p: usize,
): i32 {
  const step = (<usize> ld) << 2;
  const magnitude = i32x4.splat(0x7fffffff);
  let top = i32x4.splat(0);
  for (let d: i32 = 0; d < columns; d += 8, src_p += 32, sums_p += 64) {
    let a = v128.load(sums_p), b = v128.load(sums_p, 16);
    let c = v128.load(sums_p, 32), e = v128.load(sums_p, 48);
    let src = src_p;
    for (let i: i32 = 0; i < rows; i++, src += step) {
      if (!counts(seen_p, i, rows)) continue;
      const x = v128.load(src), y = v128.load(src, 16);
      top = i32x4.max_s(top, i32x4.max_s(v128.and(x, magnitude), v128.and(y, magnitude)));
      a = f64x2.add(a, f64x2.promote_low_f32x4(x));
      b = f64x2.add(b, f64x2.promote_low_f32x4(v128.shuffle<f64>(x, x, 1, 1)));
      c = f64x2.add(c, f64x2.promote_low_f32x4(y));
      e = f64x2.add(e, f64x2.promote_low_f32x4(v128.shuffle<f64>(y, y, 1, 1)));
    }
    v128.store(sums_p, a);
    v128.store(sums_p, b, 16);
    v128.store(sums_p, c, 32);
    v128.store(sums_p, e, 48);
  }
  top = i32x4.max_s(top, v128.shuffle<f64>(top, top, 1, 0));
  return max(i32x4.extract_lane(top, 0), i32x4.extract_lane(top, 1));
}

/** dst[i] = mul·Σ_d x[i, d]·w[d], in four sums. */
export function dot_rows_f32(
  src_p: usize,
  ld: i32,
  rows: i32,
  D: i32,
  w_p: usize,
  dst_p: usize,
  mul: f32,
): void {
  for (let i: i32 = 0; i < rows; i++, src_p += (<usize> ld) << 2, dst_p += 4) {
    let sum = f32x4.splat(0);
    let at: usize = 0;
    const whole = ((<usize> D) & ~3) << 2, end = (<usize> D) << 2;
    for (; at < whole; at += 16) {
      sum = f32x4.add(sum, f32x4.mul(v128.load(src_p + at), v128.load(w_p + at)));
    }
    let s = (f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 2)) +
      (f32x4.extract_lane(sum, 1) + f32x4.extract_lane(sum, 3));
    for (; at < end; at += 4) s += load<f32>(src_p + at) * load<f32>(w_p + at);
    store<f32>(dst_p, s * mul);
  }
}

/** `mul` is 1, −1 or 0 and multiplies the codes; unit_p takes one float32 a row, those that pad a strip included. */
export function pack_rows_i16(
  src_p: usize,
  ld: i32,
  rows: i32,
  D: i32,
  dst_p: usize,
  width: i32,
  mean_p: usize,
  seen_p: usize,
  unit_p: usize,
  limit: f32,
  mul: f32,
): void {
  const step = (<usize> ld) << 2;
  const group = (<usize> ((D + 1) >> 1)) << 4;
  const padded = (rows + width - 1) & -width;
  for (let i: i32 = 0; i < padded; i += 4, unit_p += 16) {
    // A row that doesn't count is read as the mean, of which nothing is left.
    const r0 = counts(seen_p, i, rows) ? src_p : mean_p;
    const r1 = counts(seen_p, i + 1, rows) ? src_p + step : mean_p;
    const r2 = counts(seen_p, i + 2, rows) ? src_p + 2 * step : mean_p;
    const r3 = counts(seen_p, i + 3, rows) ? src_p + 3 * step : mean_p;
    const a0 = largest(r0, mean_p, D), a1 = largest(r1, mean_p, D);
    const a2 = largest(r2, mean_p, D), a3 = largest(r3, mean_p, D);
    const amax = f32x4.pmax(
      f32x4.splat(limit * SMALLEST),
      f32x4.replace_lane(f32x4.replace_lane(f32x4.replace_lane(f32x4.splat(a0), 1, a1), 2, a2), 3, a3),
    );
    const l = f32x4.splat(limit);
    v128.store(unit_p, f32x4.div(amax, l));
    const inverse = f32x4.mul(f32x4.div(l, amax), f32x4.splat(mul));
    const within = <usize> (i & (width - 1));
    packGroup(r0, r1, r2, r3, mean_p, D, dst_p + (within << 2), (<usize> width) << 2, inverse);
    if (within + 4 == <usize> width) dst_p += group * ((<usize> width) >> 2);
    src_p += 4 * step;
  }
}

// @ts-ignore: decorator
@inline
export function counts(seen_p: usize, i: i32, rows: i32): bool {
  return i < rows && (seen_p == 0 || load<u8>(seen_p + <usize> i) != 0);
}

/** max |x − mean|. */
function largest(x_p: usize, mean_p: usize, D: i32): f32 {
  let a = f32x4.splat(0), b = f32x4.splat(0);
  let d: i32 = 0;
  for (; d + 8 <= D; d += 8, x_p += 32, mean_p += 32) {
    a = f32x4.pmax(a, f32x4.abs(f32x4.sub(v128.load(x_p), v128.load(mean_p))));
    b = f32x4.pmax(b, f32x4.abs(f32x4.sub(v128.load(x_p, 16), v128.load(mean_p, 16))));
  }
  a = f32x4.pmax(a, b);
  a = f32x4.pmax(a, v128.shuffle<f64>(a, a, 1, 0));
  let top = max<f32>(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1));
  for (; d < D; d++, x_p += 4, mean_p += 4) top = max<f32>(top, abs(load<f32>(x_p) - load<f32>(mean_p)));
  return top;
}

/** Four rows → [⌈D/2⌉][4][2], ld bytes from pair to pair. */
function packGroup(
  r0: usize,
  r1: usize,
  r2: usize,
  r3: usize,
  mean_p: usize,
  D: i32,
  dst: usize,
  ld: usize,
  inverse: v128,
): void {
  const i0 = v128.shuffle<f32>(inverse, inverse, 0, 0, 0, 0);
  const i1 = v128.shuffle<f32>(inverse, inverse, 1, 1, 1, 1);
  const i2 = v128.shuffle<f32>(inverse, inverse, 2, 2, 2, 2);
  const i3 = v128.shuffle<f32>(inverse, inverse, 3, 3, 3, 3);
  const whole = (<usize> D & ~7) << 2;
  let at: usize = 0;
  for (; at < whole; at += 32, dst += 4 * ld) {
    const m = v128.load(mean_p + at), n = v128.load(mean_p + at, 16);
    transpose4(
      codes8(r0 + at, m, n, i0),
      codes8(r1 + at, m, n, i1),
      codes8(r2 + at, m, n, i2),
      codes8(r3 + at, m, n, i3),
      dst,
      ld,
    );
  }
  const f0 = f32x4.extract_lane(inverse, 0), f1 = f32x4.extract_lane(inverse, 1);
  const f2 = f32x4.extract_lane(inverse, 2), f3 = f32x4.extract_lane(inverse, 3);
  for (const end = (<usize> D) << 2; at < end; at += 8, dst += ld) {
    const pair = at + 4 < end;
    const m = load<f32>(mean_p + at), n = pair ? load<f32>(mean_p + at, 4) : 0;
    store<i32>(dst, codes2(r0 + at, m, n, f0, pair));
    store<i32>(dst, codes2(r1 + at, m, n, f1, pair), 4);
    store<i32>(dst, codes2(r2 + at, m, n, f2, pair), 8);
    store<i32>(dst, codes2(r3 + at, m, n, f3, pair), 12);
  }
}

// @ts-ignore: decorator
@inline
function codes8(x_p: usize, m: v128, n: v128, inverse: v128): v128 {
  const magic = f32x4.splat(MAGIC), bits = i32x4.splat(MAGIC_BITS);
  const a = f32x4.add(f32x4.mul(f32x4.sub(v128.load(x_p), m), inverse), magic);
  const b = f32x4.add(f32x4.mul(f32x4.sub(v128.load(x_p, 16), n), inverse), magic);
  return i16x8.narrow_i32x4_s(i32x4.sub(a, bits), i32x4.sub(b, bits));
}

function codes2(x_p: usize, m: f32, n: f32, inverse: f32, pair: bool): i32 {
  const a = reinterpret<i32>((load<f32>(x_p) - m) * inverse + MAGIC);
  const b = pair ? reinterpret<i32>((load<f32>(x_p, 4) - n) * inverse + MAGIC) : 0;
  return (a & 0xffff) | (b << 16);
}

/**
 * A tile of 64 rows after the other, the last one as it is: P is 0 where it has no row. Strips come in pairs, of which
 * an odd last one gets a copy of the first beside it. unit_p: 16·⌈E/16⌉ a tile.
 */
export function pack_v_i16(
  src_p: usize,
  ld: i32,
  rows: i32,
  E: i32,
  dst_p: usize,
  mean_p: usize,
  seen_p: usize,
  unit_p: usize,
  limit: f32,
): void {
  const step = (<usize> ld) << 2;
  for (let j0: i32 = 0; j0 < rows; j0 += 64, src_p += step << 6) {
    const count = min(rows - j0, 64);
    const seen = seen_p ? seen_p + <usize> j0 : 0;
    for (let e: i32 = 0; e < ((E + 15) & ~15); e += 8, unit_p += 32, dst_p += 1024) {
      const column = e < E ? (<usize> e) << 2 : 0;
      packStripV(src_p + column, step, count, dst_p, mean_p + column, seen, unit_p, limit);
    }
  }
}

function packStripV(
  src_p: usize,
  step: usize,
  rows: i32,
  dst: usize,
  mean_p: usize,
  seen_p: usize,
  unit_p: usize,
  limit: f32,
): void {
  const m = v128.load(mean_p), n = v128.load(mean_p, 16);
  let a = f32x4.splat(limit * SMALLEST), b = a;
  let src = src_p;
  for (let j: i32 = 0; j < rows; j++, src += step) {
    if (!counts(seen_p, j, rows)) continue;
    a = f32x4.pmax(a, f32x4.abs(f32x4.sub(v128.load(src), m)));
    b = f32x4.pmax(b, f32x4.abs(f32x4.sub(v128.load(src, 16), n)));
  }
  const l = f32x4.splat(limit);
  v128.store(unit_p, f32x4.div(a, l));
  v128.store(unit_p, f32x4.div(b, l), 16);
  a = f32x4.div(l, a);
  b = f32x4.div(l, b);
  const magic = f32x4.splat(MAGIC), low = i32x4.splat(0xffff);
  for (let j: i32 = 0; j < rows; j += 2, src_p += 2 * step, dst += 32) {
    const x = counts(seen_p, j, rows) ? src_p : mean_p;
    const y = counts(seen_p, j + 1, rows) ? src_p + step : mean_p;
    const x0 = f32x4.add(f32x4.mul(f32x4.sub(v128.load(x), m), a), magic);
    const x1 = f32x4.add(f32x4.mul(f32x4.sub(v128.load(x, 16), n), b), magic);
    const y0 = f32x4.add(f32x4.mul(f32x4.sub(v128.load(y), m), a), magic);
    const y1 = f32x4.add(f32x4.mul(f32x4.sub(v128.load(y, 16), n), b), magic);
    v128.store(dst, v128.or(v128.and(x0, low), i32x4.shl(y0, 16)));
    v128.store(dst, v128.or(v128.and(x1, low), i32x4.shl(y1, 16)), 16);
  }
}
