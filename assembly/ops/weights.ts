/**
 * What attention never needs to hold, for those who ask: the scores x, or the weights P = 2^(c·(S − m))·w/l of a chunk
 * of rows whose m and l are known, against a panel of keys. A second pass through the forward's own scores, so that P is
 * what O was made of.
 *
 * dst [rows][keys of the panel], rows ld bytes apart, ld a multiple of 256. A key that a row may not see gives exactly 0,
 * or −∞ among scores, whatever it holds. 2·D flops and an exponential for each (row, key).
 */
import { EXP2_TABLE, exp2x4 } from "../math/exp2";
import { drop, scores, spanOf } from "./forward";
import { Task } from "./task";

/** Weights (`exponents`) want finish_f32 before, which leaves w/l in l_p. */
export function weights_f32(t: Task, dst_p: usize, ld: usize, exponents: bool): void {
  const rows = t.rows;
  const end = t.key0 + t.keys;
  const hidden = exponents ? f32x4.splat(0) : f32x4.splat(-Infinity);
  const scratch = t.scratch_p;
  for (let r = 0; r < rows; r += 4, dst_p += ld << 2) {
    const s = spanOf(t, r, 0);
    const live = min(rows - r, 4);
    for (let j0 = t.key0; j0 < end; j0 += 64) {
      const dst = dst_p + ((<usize> (j0 - t.key0)) << 2);
      const apart = j0 >= s.hi || (j0 >= s.sink && j0 + 64 <= s.lo);
      const seen = !apart && scores(t, r, j0, s) >= 0;
      if (seen && exponents) weigh(t, r, s.from, s.to);
      if (seen && exponents && t.drop_p) drop(t, r, j0, s.from, s.to);
      for (let n = 0; n < live; n++) {
        const to = dst + <usize> n * ld;
        for (let j = 0; j < 64; j += 4) {
          const at = <usize> j << 2;
          const there = seen && s.from <= j && j < s.to;
          v128.store(to + at, there ? v128.load(scratch + ((<usize> n) << 8) + at) : hidden);
        }
      }
    }
  }
}

/** S → P of four rows. */
function weigh(t: Task, row: i32, from: i32, to: i32): void {
  const c = f32x4.splat(t.c), negInf = f32x4.splat(-Infinity);
  let s_p = t.scratch_p;
  for (let r = row; r < row + 4; r++, s_p += 256) {
    const top = load<f32>(t.m_p + ((<usize> r) << 2));
    const m = f32x4.splat(top == -Infinity ? 0 : top);
    const share = v128.load32_splat(t.l_p + ((<usize> r) << 2));
    const end = s_p + ((<usize> to) << 2);
    for (let s = s_p + ((<usize> from) << 2); s < end; s += 16) {
      const x = v128.load(s);
      const p = exp2x4(
        f32x4.mul(f32x4.sub(x, m), c),
        v128.load(EXP2_TABLE),
        v128.load(EXP2_TABLE, 16),
        v128.load(EXP2_TABLE, 32),
        v128.load(EXP2_TABLE, 48),
        v128.load(EXP2_TABLE, 64),
        v128.load(EXP2_TABLE, 80),
        v128.load(EXP2_TABLE, 96),
        v128.load(EXP2_TABLE, 112),
      );
      // 0·NaN, where another key made l a NaN, must not reach a key that isn't seen.
      v128.store(s, v128.andnot(f32x4.mul(p, share), f32x4.eq(x, negInf)));
    }
  }
}
