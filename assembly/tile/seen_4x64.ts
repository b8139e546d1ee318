/**
 * Which keys of a tile four rows see, one bit a key: lo ≤ j < hi or j < min(sink, hi), and 1 in the boolean mask, and 1
 * in the block mask. As words of 64 bits "nobody sees anything" and "everybody sees everything" are one comparison, and
 * all that is left to do on S is one select.
 */
import { Task } from "../ops/task";

const BITS: v128 = i32x4(1, 2, 4, 8);

/** Bit j of word r: row r of the strip sees key j0 + j. Writes four words, returns their union. */
export function seen_4x64(t: Task, row: i32, j0: i32, words_p: usize): u64 {
  const j = <usize> (j0 - t.key0);
  let bounds = t.bounds_p + ((<usize> row) << 4);
  let some: u64 = 0;
  for (let r: usize = 0; r < 4; r++, bounds += 16) {
    const below_hi = below(load<i32>(bounds, 4) - j0);
    let seen = below_hi & (~below(load<i32>(bounds) - j0) | below(load<i32>(bounds, 8) - j0));
    if (t.blocks_p) {
      seen &= load<u64>(t.blocks_p + (((<usize> row + r) * <usize> t.blocks_ld + (j >> 6)) << 3));
    }
    if (t.mask_p && seen != 0) {
      const bytes = load<usize>(t.mask_p + ((<usize> row + r) << 2));
      seen &= t.mask_step ? nonzero64(bytes + j) : load<u8>(bytes) ? <u64> ~0 : 0;
    }
    store<u64>(words_p + (r << 3), seen);
    some |= seen;
  }
  return some;
}

/** The first n bits. */
function below(n: i32): u64 {
  return n <= 0 ? 0 : n >= 64 ? <u64> ~0 : (<u64> 1 << n) - 1;
}

/** One bit for each of 64 bytes that isn't 0. */
function nonzero64(p: usize): u64 {
  let bits: u64 = 0;
  for (let x: usize = 0; x < 64; x += 16) {
    bits |= <u64> <u32> i8x16.bitmask(i8x16.ne(v128.load(p + x), i8x16.splat(0))) << x;
  }
  return bits;
}

/** S of keys whose bit is 0 becomes −∞, from ≤ j < to, multiples of 4; rows of S 256 bytes, words 8 bytes apart. */
export function hide_4x64(s_p: usize, words_p: usize, from: i32, to: i32): void {
  const negInf = f32x4.splat(-Infinity);
  for (let r: usize = 0; r < 4; r++, s_p += 256, words_p += 8) {
    let seen = load<u64>(words_p) >> from;
    const end = s_p + ((<usize> to) << 2);
    for (let s = s_p + ((<usize> from) << 2); s < end; s += 16, seen >>= 4) {
      const hidden = i32x4.eq(v128.and(i32x4.splat(<i32> seen), BITS), i32x4.splat(0));
      v128.store(s, v128.bitselect(negInf, v128.load(s), hidden));
    }
  }
}
