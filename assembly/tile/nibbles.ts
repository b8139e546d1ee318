/**
 * Codes of 4 bits, two a byte in memory, and the two to a 16-bit lane that qk_i4_4x32.ts multiplies.
 *
 *   memory   [keys/32][⌈D/2⌉][2][8] words of four codes: a₀ | b₀ << 4 | a₁ << 8 | b₁ << 12        ⌈D/2⌉ bytes a key
 *   lanes    [keys/32][⌈D/2⌉][16][2] i16: a + 4096·b, a of key c, b of key c + 16 of the strip    2·⌈D/2⌉ bytes a key
 *
 * A tile of 64 keys is unpacked once for all strips of a block of queries: 8 instructions for 32 codes, 0.02 ns a code
 * or 1/16 of that where 64 rows share it. Codes are −7 … 7: beside a code below 0, −8 as b would leave the lane.
 */

/** i16 codes of 32 keys as pack_rows_i16 leaves them, [2][pairs][16][2], → nibbles; `strips` of 32 keys. */
export function pack_i4(src_p: usize, dst_p: usize, pairs: i32, strips: i32): void {
  const half = (<usize> pairs) << 6;
  for (; strips > 0; strips--, src_p += half) {
    for (const end = src_p + half; src_p < end; src_p += 32, dst_p += 16) {
      const b = src_p + half;
      v128.store(
        dst_p,
        v128.or(
          v128.or(low(src_p), i16x8.shl(low(b), 4)),
          v128.or(i16x8.shl(low(src_p + 16), 8), i16x8.shl(v128.load(b, 16), 12)),
        ),
      );
    }
  }
}

function low(p: usize): v128 {
  return v128.and(v128.load(p), i16x8.splat(15));
}

/** Nibbles → lanes; `strips` of 32 keys. */
export function unpack_i4(src_p: usize, dst_p: usize, pairs: i32, strips: i32): void {
  const high = i16x8.splat(<i16> 0xf000);
  for (const end = src_p + <usize> (pairs * strips << 5); src_p < end; src_p += 16, dst_p += 32) {
    const x = v128.load(src_p);
    const b = v128.and(i16x8.shl(x, 8), high);
    v128.store(dst_p, i16x8.add(b, i16x8.shr_s(i16x8.shl(x, 12), 12)));
    v128.store(dst_p, i16x8.add(v128.and(x, high), i16x8.shr_s(i16x8.shl(x, 4), 12)), 16);
  }
}

/** Scalar twin. */
export function unpack_i4_scalar(src_p: usize, dst_p: usize, pairs: i32, strips: i32): void {
  for (let n: usize = 0; n < <usize> (pairs * strips << 5); n += 2) {
    const x = <i32> load<i16>(src_p + n);
    const to = dst_p + ((n >> 4) << 5) + (n & 15);
    store<i16>(to, <i16> (((x << 28) >> 28) + (((x << 24) >> 28) << 12)));
    store<i16>(to, <i16> (((x << 20) >> 28) + ((x >> 12) << 12)), 16);
  }
}
