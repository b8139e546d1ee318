/**
 * Decode: few query rows against a key/value cache where it lies, one pass over K and one over V.
 *
 *   for each phase of 8 tiles of 64 keys            512 rows of K, then 512 rows of V: long runs for the prefetcher
 *     for each group of 4 rows (of one key/value head, so that K and V serve all; the second group finds them in L2)
 *       for each tile:   S = Q·Kᵀ
 *       for each tile:   scores, masks, online softmax, O += P·V
 *
 * The row state, the softmax and its rescale rule, the scores and the masks are the forward's; only the two products
 * differ, because packing K and V would cost more than it gives for 4 rows. A row's arithmetic depends on that row's
 * query, its bounds and its keys alone, tiles are cut from key 0: neighbours, batch and group change no bits.
 *
 * V is read only where a row sees it, because 0·∞ is NaN: a tile that not all rows of a group see alike is walked
 * row by row, run by run.
 *
 * 4·(D + E) bytes a key from memory, 2·(D + E) flop for each of the rows.
 */
import { exp2 } from "../math/exp2";
import { finite_f16 } from "../math/half";
import { tile_rows } from "../tile/pack_rows";
import { pv_f32_rows, pv_rows, pv_rows_scalar } from "../tile/pv_rows";
import { qk_f32_rows, qk_rows, qk_rows_scalar } from "../tile/qk_rows";
import { rowTops } from "../tile/row_max";
import { softmax_f32_1x64 } from "../tile/softmax_f32_1x64";
import { softmax_f32_4x64, softmax_f32_4x64_scalar, WORK } from "../tile/softmax_f32_4x64";
import { prepare, reset } from "./forward";
import { FIRST, SCALAR, SCORES, Task } from "./task";

/** Tiles of a phase: S of a group takes 8 KiB. Changes no bits. */
const TILES: i32 = 8;
/** Flag beside those of task.ts: P·2^-40 goes to O, for values so large that O would overflow before the division. */
const SHRINK: i32 = 1 << 16;
/** A float16 cache is known to hold no ∞ and no NaN: otherwise each tile is scanned first. */
const FINITE: i32 = 1 << 17;

/** Scratch: S of 8 tiles with slack, hidden keys of 4 rows (or what a tile sees), the softmax's, what was touched. */
const HIDDEN: usize = 1024 * 8 + 64;
const TOPS: usize = HIDDEN + 32;
const TOUCHED: usize = TOPS + WORK;

export function decode_scratch(): i32 {
  return <i32> TOUCHED + 4;
}

/**
 * Keys t.key0 … t.key0 + t.keys, key0 a multiple of 64, and keys too unless no row sees further. k_p, v_p are the
 * addresses of key0's rows, which lie ld_k and ld_v elements apart; dtype 0 float32, 1 float16, 2 bfloat16. Q as
 * pack_q_rows_f32 leaves it, the rest as the forward takes it, but for poison_p, which is not looked at.
 */
export function decode_f32(t: Task, ld_k: i32, ld_v: i32, dtype: i32): void {
  if (t.flags & FIRST) reset(t, (t.rows + 3) & ~3);
  const scratch = t.scratch_p;
  const end = t.key0 + t.keys;
  const group = ((<usize> (t.D + 3)) & ~3) << 4;
  let touched = 0;
  for (let j0 = t.key0; j0 < end; j0 += 64 * TILES) {
    const stop = min(end, j0 + 64 * TILES);
    let q_p = t.q_p;
    for (let row = 0; row < t.rows; row += 4, q_p += group) {
      for (let j = j0; j < stop; j += 64) {
        touched |= scores(t, row, q_p, j, scratch + (<usize> (j - j0) << 4), ld_k, dtype);
      }
      for (let j = j0; j < stop; j += 64) {
        t.scratch_p = scratch + (<usize> (j - j0) << 4);
        touched |= values(t, row, j, scratch, ld_v, dtype);
      }
      t.scratch_p = scratch;
    }
  }
  store<i32>(scratch + TOUCHED, touched);
}

/** decode_f32 on the scalar twins. */
export function decode_f32_scalar(t: Task, ld_k: i32, ld_v: i32, dtype: i32): void {
  t.flags |= SCALAR;
  decode_f32(t, ld_k, ld_v, dtype);
}

/** Keys from ≤ j < to of a tile that some of the four rows sees, and whether all see the same ones. */
@unmanaged
export class Seen {
  from: i32;
  to: i32;
  alike: i32;
}

/** `s` in scratch takes the result. Rows that pad a group repeat the last one's bounds. */
function look(t: Task, row: i32, j0: i32, s: Seen): void {
  let bounds = t.bounds_p + ((<usize> row) << 4);
  s.from = 64;
  s.to = 0;
  s.alike = t.mask_p == 0 && t.bias_p == 0 ? 1 : 0;
  for (let r = 0; r < 4; r++, bounds += 16) {
    const lo = max(load<i32>(bounds) - j0, 0), hi = min(load<i32>(bounds, 4) - j0, 64);
    const sink = min(load<i32>(bounds, 8) - j0, hi);
    const from = sink > 0 ? 0 : lo, to = lo < hi ? hi : max(sink, 0);
    if (r > 0 && (from < to || s.from < s.to) && (from != s.from || to != s.to)) s.alike = 0;
    if (sink > 0 && sink < lo && lo < hi) s.alike = 0;
    if (from < to) {
      s.from = min(s.from, from);
      s.to = max(s.to, to);
    }
  }
}

/** S of one group and tile. */
function scores(t: Task, row: i32, q_p: usize, j0: i32, s_p: usize, ld: i32, dtype: i32): i32 {
  const s = changetype<Seen>(t.scratch_p + HIDDEN);
  look(t, row, j0, s);
  const from = s.from, keys = s.to - from;
  if (keys <= 0) return 0;
  const k_p = address(t.k_p, j0 - t.key0 + from, ld, dtype), step = <usize> ld << (dtype ? 1 : 2);
  const more = t.key0 + t.keys - (j0 + s.to), rows = tile_rows(t.rows, row), D = t.D;
  s_p += <usize> from << 2;
  if ((t.flags & SCALAR) || !tame(t, k_p, step, keys, D, dtype)) {
    if (dtype == 0) return qk_rows_scalar<f32>(rows, q_p, k_p, step, D, keys, s_p, more);
    if (dtype == 1) return qk_rows_scalar<u16>(rows, q_p, k_p, step, D, keys, s_p, more);
    return qk_rows_scalar<i16>(rows, q_p, k_p, step, D, keys, s_p, more);
  }
  if (dtype == 0) return qk_f32_rows(rows, q_p, k_p, step, D, keys, s_p, more);
  if (dtype == 1) return qk_rows<u16>(rows, q_p, k_p, step, D, keys, s_p, more);
  return qk_rows<i16>(rows, q_p, k_p, step, D, keys, s_p, more);
}

/** Softmax and O += P·V of one group and tile; t.scratch_p is where its S is. */
function values(t: Task, row: i32, j0: i32, scratch: usize, ld: i32, dtype: i32): i32 {
  const s = changetype<Seen>(scratch + HIDDEN);
  look(t, row, j0, s);
  const a = s.from, b = s.to, alike = s.alike;
  if (a >= b) return 0;
  const rows = tile_rows(t.rows, row);
  const from = a & ~15, to = (b + 15) & ~15;
  const whole = alike != 0 && a == 0 && b == 64;
  if (!whole || (t.flags & SCORES)) prepare(t, row, j0, from, to, whole, scratch + HIDDEN);
  if (!alike) hide(t.scratch_p, scratch + HIDDEN, from, to);

  const s_p = t.scratch_p, strips = t.strips;
  const state = (<usize> row) << 2, ldO = (<usize> strips) << 5;
  const m_p = t.m_p + state, l_p = t.l_p + state, o_p = t.o_p + <usize> row * ldO;
  const top_p = scratch + TOPS;
  if ((t.flags & SCALAR) || rows == 4) rowTops(s_p, from, to, top_p);
  if (t.flags & SCALAR) softmax_f32_4x64_scalar(s_p, from, to, t.c, m_p, l_p, o_p, strips, top_p);
  else if (rows == 4) softmax_f32_4x64(s_p, from, to, t.c, m_p, l_p, o_p, strips, top_p);
  else {
    softmax_f32_1x64(s_p, from, to, t.c, m_p, l_p, o_p, strips, top_p);
    if (rows == 2) softmax_f32_1x64(s_p + 256, from, to, t.c, m_p + 4, l_p + 4, o_p + ldO, strips, top_p);
  }
  if (t.flags & SHRINK) shrink(s_p, from, to);

  const v_p = address(t.v_p, j0 - t.key0 + a, ld, dtype), step = <usize> ld << (dtype ? 1 : 2);
  const p_p = s_p + (<usize> a << 2);
  if (alike) return product(t, rows, p_p, v_p, step, b - a, o_p, t.key0 + t.keys - (j0 + b), dtype);
  return runs(t, min(4, t.rows - row), scratch + HIDDEN, p_p, v_p, step, a, b - a, o_p, dtype);
}

/** O += P·V for rows that see all of `keys`. */
function product(
  t: Task,
  rows: i32,
  p_p: usize,
  v_p: usize,
  step: usize,
  keys: i32,
  o_p: usize,
  more: i32,
  dtype: i32,
): i32 {
  const E = t.E, ldO = (<usize> t.strips) << 5;
  if ((t.flags & SCALAR) || !tame(t, v_p, step, keys, E, dtype)) {
    if (dtype == 0) return pv_rows_scalar<f32>(rows, p_p, v_p, step, keys, E, o_p, ldO, more);
    if (dtype == 1) return pv_rows_scalar<u16>(rows, p_p, v_p, step, keys, E, o_p, ldO, more);
    return pv_rows_scalar<i16>(rows, p_p, v_p, step, keys, E, o_p, ldO, more);
  }
  if (dtype == 0) return pv_f32_rows(rows, p_p, v_p, step, keys, E, o_p, ldO, more);
  if (dtype == 1) return pv_rows<u16>(rows, p_p, v_p, step, keys, E, o_p, ldO, more);
  return pv_rows<i16>(rows, p_p, v_p, step, keys, E, o_p, ldO, more);
}

/** Whether the vector kernels can read these rows: they take float16 for finite, the scalar twins don't. */
function tame(t: Task, p: usize, step: usize, keys: i32, width: i32, dtype: i32): bool {
  return dtype != 1 || (t.flags & FINITE) != 0 || finite_f16(p, step, keys, width);
}

function address(p: usize, row: i32, ld: i32, dtype: i32): usize {
  return p + (<usize> row * <usize> ld << (dtype ? 1 : 2));
}

/** One bit a key and row: S = −∞, the row does not see it. Keys before `from` and from `to` on count as hidden. */
function hide(s_p: usize, hidden_p: usize, from: i32, to: i32): void {
  const negInf = f32x4.splat(-Infinity);
  for (let r = 0; r < 4; r++, s_p += 256, hidden_p += 8) {
    let hidden: u64 = ~0;
    for (let j = from; j < to; j += 4) {
      const seen = <u64> (i32x4.bitmask(f32x4.eq(v128.load(s_p + (<usize> j << 2)), negInf)) ^ 15);
      hidden &= ~(seen << j);
    }
    store<u64>(hidden_p, hidden);
  }
}

/** O += P·V for keys a … a + count of the tile, each row over the runs of keys that it sees. */
function runs(
  t: Task,
  rows: i32,
  hidden_p: usize,
  p_p: usize,
  v_p: usize,
  step: usize,
  a: i32,
  count: i32,
  o_p: usize,
  dtype: i32,
): i32 {
  const ldO = (<usize> t.strips) << 5;
  for (let r = 0; r < rows; r++, hidden_p += 8, p_p += 256, o_p += ldO) {
    const hidden = load<u64>(hidden_p) >> a;
    for (let j = 0; j < count;) {
      if ((hidden >> j) & 1) {
        j++;
        continue;
      }
      let n = 1;
      while (j + n < count && !((hidden >> (j + n)) & 1)) n++;
      product(t, 1, p_p + (<usize> j << 2), v_p + <usize> j * step, step, n, o_p, 0, dtype);
      j += n;
    }
  }
  return 0;
}

function shrink(s_p: usize, from: i32, to: i32): void {
  const by = f32x4.splat(reinterpret<f32>((127 - 40) << 23));
  for (let r = 0; r < 4; r++, s_p += 256) {
    const end = s_p + (<usize> to << 2);
    for (let p = s_p + (<usize> from << 2); p < end; p += 16) v128.store(p, f32x4.mul(v128.load(p), by));
  }
}

/**
 * The state (m, l, O) of t takes in another state of the same rows, over other keys: m' = max, each l and O times
 * 2^((m − m')·c), added. Splits are merged in the order of their keys, so that a part's place never depends on who
 * computed it.
 */
export function merge_state_f32(t: Task, m_p: usize, l_p: usize, o_p: usize): void {
  const c = t.c;
  const width = (<usize> t.strips) << 5;
  for (let r: usize = 0; r < <usize> t.rows; r++) {
    const at = r << 2;
    const a = load<f32>(t.m_p + at), b = load<f32>(m_p + at);
    const m = a < b ? b : a;
    // Both empty: any finite reference gives weights 0.
    const to: f32 = m == -Infinity ? 0 : m;
    const x = exp2((a - to) * c), y = exp2((b - to) * c);
    store<f32>(t.m_p + at, m);
    store<f32>(t.l_p + at, load<f32>(t.l_p + at) * x + load<f32>(l_p + at) * y);
    const o = t.o_p + r * width, p = o_p + r * width;
    const xx = f32x4.splat(x), yy = f32x4.splat(y);
    for (let e: usize = 0; e < width; e += 16) {
      v128.store(o + e, f32x4.add(f32x4.mul(v128.load(o + e), xx), f32x4.mul(v128.load(p + e), yy)));
    }
  }
}

/** Dense rows r = h·n + i of `width` → dst_p + h·head + i·token (elements). */
export function scatter_rows_f32(
  src_p: usize,
  dst_p: usize,
  heads: i32,
  n: i32,
  head: i32,
  token: i32,
  width: i32,
): void {
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < n; i++) {
      memory.copy(dst_p + (<usize> (h * head + i * token) << 2), src_p, (<usize> width) << 2);
      src_p += (<usize> width) << 2;
    }
  }
}
