/**
 * V in E4M3: float32 rows → codes of a byte, and a tile of them → float32, v ≈ decode(code)·unit, a unit a column.
 *
 *   unit = amax/448     code = E4M3((v − mean)/unit), ties to even      amax over all keys or a tile, ≥ 448·2^−126
 *
 *   [rows/64][⌈E/8⌉][64][8] bytes → [⌈E/8⌉][64][8] float32, what pv_f32_4x8.ts reads; once for a block of queries
 *
 * Magnitude bits shifted to where float32 has exponent and mantissa are the number times 2^−120, subnormals included:
 * one shift, one mask and one product decode four codes, and the way back is the same product and shift, after adding
 * and subtracting 2^20 times the number's power of two has rounded it to 3 bits. The codes and units of
 * src/reference/sagevalues.ts bit for bit. Rows that don't count have the code 0; as quantise.ts in all else.
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
  const rounded = f32x4.pmin(f32x4.splat(TOP), f32x4.sub(f32x4.add(a, magic), magic));
  const bits = i32x4.shr_u(f32x4.mul(rounded, i32x4.splat(0x03800000)), 20); // 2^−120
  return v128.or(bits, v128.and(i32x4.shr_u(y, 24), i32x4.splat(0x80)));
}

/** A tile of 64 keys → float32; unit_p: 8·strips floats. */
export function unpack_v_e4m3(src_p: usize, dst_p: usize, strips: i32, unit_p: usize): void {
  const up = i32x4.splat(0x7b800000); // 2^120
  const mask = i32x4.splat(0x87f00000);
  for (; strips > 0; strips--, unit_p += 32) {
    const u = v128.load(unit_p), w = v128.load(unit_p, 16);
    for (const end = src_p + 512; src_p < end; src_p += 8, dst_p += 32) {
      const x = v128.load8x8_s(src_p);
      const a = v128.and(i32x4.shl(i32x4.extend_low_i16x8_s(x), 20), mask);
      const b = v128.and(i32x4.shl(i32x4.extend_high_i16x8_s(x), 20), mask);
      v128.store(dst_p, f32x4.mul(f32x4.mul(a, up), u));
      v128.store(dst_p, f32x4.mul(f32x4.mul(b, up), w), 16);
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
