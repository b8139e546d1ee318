/**
 * V in E4M3: float32 rows → codes of a byte, and a tile of them → float32, v ≈ decode(code)·unit, a unit a column.
 *
 *   unit = amax/448     code = E4M3((v − mean)/unit), ties to even      amax over all keys or a tile, ≥ 448·2^−126
 *
 *   [rows/64][⌈E/8⌉][64][8] bytes → [⌈E/8⌉][64][8] float32, what gemm_f32_4x8.ts reads; once for a block of queries
 *
 * Encoding: a number plus 2^20 times its power of two is rounded to 3 bits of mantissa, which then are its last bits, and
 * whose power is the exponent. Decoding, 16 at a time: a code shifted by 4 has exponent and mantissa where bfloat16 has
 * them, 120 lower; subnormals and 0 differ from that by what two tables of 16 bytes say (a swizzle each). No step is
 * on a subnormal float32, which costs up to 40 ns. The codes and units of src/reference/sagevalues.ts bit for bit. Rows that
 * don't count have the code 0; as quantise.ts in all else.
 */
import { counts } from "./quantise";

const TOP: f32 = 448;
const LEAST: f32 = 5.266142255787855e-36; // 448·2^−126

/** top_p[e] ← max(top_p[e], |x − mean|) over rows that count, of 4 columns at a time. */
export function column_max_f32(
  src_p: usize,
  ld: i32,
  rows: i32,
  columns: i32,
  mean_p: usize,
  seen_p: usize,
  top_p: usize,
): void {
  for (const end = top_p + (<usize> columns << 2); top_p < end; src_p += 16, mean_p += 16, top_p += 16) {
    const m = v128.load(mean_p);
    let a = v128.load(top_p), src = src_p;
    for (let j: i32 = 0; j < rows; j++, src += <usize> ld << 2) {
      if (counts(seen_p, j, rows)) a = f32x4.pmax(a, f32x4.abs(f32x4.sub(v128.load(src), m)));
    }
    v128.store(top_p, a);
  }
}

/** Tile after tile. unit_p: 8·⌈E/8⌉ floats, given where `step` is 0; else made here, `step` bytes from tile to tile. */
export function pack_v_e4m3(
  src_p: usize,
  ld: i32,
  rows: i32,
  E: i32,
  dst_p: usize,
  mean_p: usize,
  seen_p: usize,
  unit_p: usize,
  step: usize,
): void {
  const row = (<usize> ld) << 2;
  const width = <usize> ((E + 7) & ~7);
  for (let j0: i32 = 0; j0 < rows; j0 += 64, src_p += row << 6, unit_p += step, dst_p += width << 6) {
    const count = min(rows - j0, 64);
    const seen = seen_p ? seen_p + <usize> j0 : 0;
    for (let e: usize = 0; e < width; e += 4) {
      const x_p = src_p + (e << 2), m_p = mean_p + (e << 2), u_p = unit_p + (e << 2);
      if (step) {
        v128.store(u_p, f32x4.splat(LEAST));
        column_max_f32(x_p, ld, count, 4, m_p, seen, u_p);
        v128.store(u_p, f32x4.div(v128.load(u_p), f32x4.splat(TOP)));
      }
      const mean = v128.load(m_p), unit = v128.load(u_p);
      let src = x_p, dst = dst_p + ((e & ~7) << 6) + (e & 4);
      for (let j: i32 = 0; j < count; j++, src += row, dst += 8) {
        const x = i16x8.narrow_i32x4_s(
          encode(counts(seen, j, count) ? v128.load(src) : mean, mean, unit),
          unit,
        );
        v128.store32_lane(dst, i8x16.narrow_i16x8_u(x, x), 0);
      }
    }
  }
}

/** Four codes, one a 32-bit lane. */
function encode(x: v128, mean: v128, unit: v128): v128 {
  const y = f32x4.div(f32x4.sub(x, mean), unit);
  const a = f32x4.abs(y);
  // No finer than 2^−9, the least: 2^−6 is the least power of two with all of the mantissa.
  const power = i32x4.max_s(v128.and(a, i32x4.splat(0x7f800000)), i32x4.splat(0x3c800000));
  const magic = i32x4.add(power, i32x4.splat(20 << 23));
  const units = i32x4.sub(f32x4.add(a, magic), magic);
  const code = i32x4.add(units, i32x4.sub(i32x4.shr_u(power, 20), i32x4.splat(121 << 3)));
  return v128.or(i32x4.min_s(code, i32x4.splat(0x7e)), v128.and(i32x4.shr_u(y, 24), i32x4.splat(0x80)));
}

/** Of 0 … 7: what 0x3c00 + (code << 4) is above the bfloat16 of code·2^−9, first bytes and last. */
const FIRST: v128 = i8x16(0x3c, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
const LAST: v128 = i8x16(0, 0x10, -0x60, 0x70, 0x40, 0x30, 0x20, 0x10, 0, 0, 0, 0, 0, 0, 0, 0);

/** A tile of 64 keys → float32; unit_p: 8·strips floats. */
export function unpack_v_e4m3(src_p: usize, dst_p: usize, strips: i32, unit_p: usize): void {
  const zero = i8x16.splat(0);
  for (; strips > 0; strips--, unit_p += 32) {
    const u = v128.load(unit_p), w = v128.load(unit_p, 16);
    for (const end = src_p + 512; src_p < end; src_p += 16, dst_p += 64) {
      const x = v128.load(src_p);
      const size = v128.and(x, i8x16.splat(0x7f)), sign = v128.xor(x, size);
      const high = i8x16.add(v128.and(i16x8.shr_u(x, 4), i8x16.splat(7)), i8x16.splat(0x3c));
      const first = v128.or(sign, i8x16.sub(high, i8x16.swizzle(FIRST, size)));
      const low = v128.and(i16x8.shl(x, 4), i8x16.splat(<i8> 0xf0));
      const last = i8x16.sub(low, i8x16.swizzle(LAST, size));
      const a = v128.shuffle<i8>(last, first, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const b = v128.shuffle<i8>(last, first, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      v128.store(dst_p, f32x4.mul(v128.shuffle<i16>(zero, a, 0, 8, 1, 9, 2, 10, 3, 11), u));
      v128.store(dst_p, f32x4.mul(v128.shuffle<i16>(zero, a, 4, 12, 5, 13, 6, 14, 7, 15), w), 16);
      v128.store(dst_p, f32x4.mul(v128.shuffle<i16>(zero, b, 0, 8, 1, 9, 2, 10, 3, 11), u), 32);
      v128.store(dst_p, f32x4.mul(v128.shuffle<i16>(zero, b, 4, 12, 5, 13, 6, 14, 7, 15), w), 48);
    }
  }
}

/** Scalar twin: the same bits. */
export function unpack_v_e4m3_scalar(src_p: usize, dst_p: usize, strips: i32, unit_p: usize): void {
  for (let n: usize = 0; n < (<usize> strips) << 9; n++) {
    const code = <i32> load<u8>(src_p + n);
    const mantissa = <f32> (code & 7), field = (code >> 3) & 15;
    // (8 + mantissa)·2^(field − 10), mantissa·2^−9
    const size: f32 = field
      ? (<f32> 8 + mantissa) * reinterpret<f32>((field + 117) << 23)
      : mantissa * <f32> 0.001953125;
    const unit = load<f32>(unit_p + ((n >> 9) << 5) + ((n & 7) << 2));
    store<f32>(dst_p + (n << 2), (code & 128 ? -size : size) * unit);
  }
}
