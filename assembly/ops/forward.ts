/**
 * Fused forward: a chunk of query rows against a panel of keys, S and P never larger than 4×64.
 *
 *   for each block of Br rows                      O, m, l of the block stay in L1
 *     for each tile of 64 keys that some row of the block may see           FlashAttention-2, algorithm 1
 *       for each strip of 4 rows:   S = Q·Kᵀ → (scores) → (masks) → online softmax → O += P·V
 *   finish_f32 (finish.ts): O / l, lse = m + ln l
 *
 * Tiles are cut from key 0 in steps of 64 and every row's arithmetic depends on that row alone: Br, the chunk, the
 * panel and the neighbours in a strip change no bits. A tile that all four rows see whole is never masked, one that
 * none of them sees is never computed; in between only the groups of 16 keys that some row sees are.
 *
 * 2·(D + E) flops for each (row, key) from 4·(D + E)/Br bytes of K and V out of L2.
 */
import { gemm_f32_4x8, gemm_f32_4x8_scalar, ZEROS } from "../tile/gemm_f32_4x8";
import { drop_f32_64, drop_f32_64_scalar } from "../tile/drop_f32_64";
import { rowQ } from "../tile/pack";
import { score_f32_64 } from "../tile/score_f32_64";
import { rowTops } from "../tile/row_max";
import { hide_4x64, seen_4x64 } from "../tile/seen_4x64";
import { softmax_f32_4x64, softmax_f32_4x64_scalar, WORK } from "../tile/softmax_f32_4x64";
import { openValues, scores_i16, values_i16 } from "./quantised";
import { FIRST, PLAIN_PV, QUANTISED, SCORES, Task, TILE_V, twins } from "./task";

/** Scratch: S [4][64] floats, one flag a key (1 = masked), one bit a key (1 = seen), the softmax's, the strips' bounds. */
const FLAGS: usize = 1024;
const WORDS: usize = FLAGS + 256;
const TOPS: usize = WORDS + 32;
const STRIPS: usize = TOPS + WORK;

/**
 * What the 4 rows of a strip see: lo and hi span the union, loAll ≤ j < hiAll is seen by all of them. `scores` adds
 * which keys from ≤ j < to of its tile some of them sees, multiples of 16.
 */
@unmanaged
export class Strip {
  lo: i32;
  hi: i32;
  loAll: i32;
  hiAll: i32;
  sink: i32;
  from: i32;
  to: i32;
}
const STRIP_BYTES: usize = 28;

export function forward_f32(t: Task): void {
  const rows = (t.rows + 3) & ~3;
  if (t.flags & FIRST) reset(t, rows);
  for (let r0: i32 = 0; r0 < rows; r0 += t.br) block(t, r0, min(rows - r0, t.br));
}

export function reset(t: Task, rows: i32): void {
  for (let r: usize = 0; r < (<usize> rows) << 2; r += 16) {
    v128.store(t.m_p + r, f32x4.splat(-Infinity));
    v128.store(t.l_p + r, i32x4.splat(0));
  }
  memory.fill(t.o_p, 0, ((<usize> rows) * (<usize> t.strips)) << 5);
}

function block(t: Task, r0: i32, rows: i32): void {
  const key0 = t.key0;
  const end = key0 + t.keys;
  let lo = i32.MAX_VALUE, hi: i32 = 0, sink: i32 = 0;
  for (let r: i32 = 0; r < rows; r += 4) {
    const s = spanOf(t, r0 + r, r);
    lo = min(lo, s.lo);
    hi = max(hi, s.hi);
    sink = max(sink, s.sink);
  }
  hi = min(hi, end);
  for (let j0 = key0; j0 < hi; j0 += 64) {
    if (j0 >= sink && j0 + 64 <= lo) {
      // Between the sink tokens and the window: on to the first tile of the window.
      j0 = (lo & ~63) - 64;
      continue;
    }
    for (let r: i32 = 0; r < rows; r += 4) {
      const s = changetype<Strip>(t.scratch_p + STRIPS + (<usize> (r >> 2)) * STRIP_BYTES);
      if (j0 >= s.hi || (j0 >= s.sink && j0 + 64 <= s.lo)) continue;
      strip(t, r0 + r, j0, s);
    }
  }
}

export function spanOf(t: Task, row: i32, at: i32): Strip {
  const s = changetype<Strip>(t.scratch_p + STRIPS + (<usize> (at >> 2)) * STRIP_BYTES);
  let bounds = t.bounds_p + ((<usize> row) << 4);
  const a = v128.load(bounds),
    b = v128.load(bounds, 16),
    c = v128.load(bounds, 32),
    d = v128.load(bounds, 48);
  const least = i32x4.min_s(i32x4.min_s(a, b), i32x4.min_s(c, d));
  const most = i32x4.max_s(i32x4.max_s(a, b), i32x4.max_s(c, d));
  const loAll = i32x4.extract_lane(most, 0), hiAll = i32x4.extract_lane(least, 1);
  s.lo = i32x4.extract_lane(least, 0);
  s.hi = i32x4.extract_lane(most, 1);
  s.loAll = loAll;
  s.hiAll = hiAll;
  s.sink = i32x4.extract_lane(most, 2);
  if (loAll < hiAll && s.sink <= hiAll) return s;
  // Not all of them see a key, or all of the sink tokens.
  s.lo = i32.MAX_VALUE;
  s.hi = s.sink = 0;
  for (let r: i32 = 0; r < 4; r++, bounds += 16) {
    const lo = load<i32>(bounds), hi = load<i32>(bounds, 4), sink = load<i32>(bounds, 8);
    if (lo < hi) s.lo = min(s.lo, lo);
    s.hi = max(s.hi, lo < hi ? hi : min(sink, hi));
    s.sink = max(s.sink, min(sink, hi));
  }
  return s;
}

/** Four rows against one tile. */
function strip(t: Task, row: i32, j0: i32, s: Strip): void {
  const scratch = t.scratch_p;
  const changed = scores(t, row, j0, s);
  if (changed < 0) return;
  if ((t.flags & (QUANTISED | PLAIN_PV)) == QUANTISED) {
    values_i16(t, row, j0, s);
    return;
  }
  const from = s.from, to = s.to, strips = t.strips;
  const tile = <usize> ((j0 - t.key0) >> 6);
  const poisoned = t.poison_p != 0 && load<i32>(t.poison_p + (tile << 2)) != 0;
  if (poisoned) flagMasked(scratch, from, to);

  const state = (<usize> row) << 2;
  const ldO = (<usize> strips) << 5;
  const o_p = t.o_p + (<usize> row) * ldO;
  const s_p = scratch + ((<usize> from) << 2);
  const v_p = (t.flags & TILE_V ? openValues(t, j0) : t.v_p + ((tile * <usize> strips) << 11)) +
    (<usize> from << 5);
  // Keys from s.hi on are 0 in P for all rows, and V may not have them.
  const keys = min(s.hi - j0, to) - from;
  const top_p = scratch + TOPS;
  if (changed) rowTops(scratch, from, to, top_p);
  if (twins(t)) {
    softmax_f32_4x64_scalar(scratch, from, to, t.c, t.m_p + state, t.l_p + state, o_p, strips, top_p);
    if (t.drop_p) drop(t, row, j0, from, to);
    if (!poisoned) gemm_f32_4x8_scalar(s_p, v_p, keys, strips, 2048, o_p, ldO, 0, 0);
  } else {
    softmax_f32_4x64(scratch, from, to, t.c, t.m_p + state, t.l_p + state, o_p, strips, top_p);
    if (t.drop_p) drop(t, row, j0, from, to);
    if (!poisoned) gemm_f32_4x8(s_p, v_p, keys, strips, 2048, o_p, ldO, 0, 0);
  }
  if (poisoned) poisonedValues(scratch, v_p, from, keys, strips, o_p);
}

/**
 * S of four rows and one tile into scratch, scored and masked: −1 if none of them sees any of its keys, 0 if S and its
 * maxima are as the scores tile left them.
 */
export function scores(t: Task, row: i32, j0: i32, s: Strip): i32 {
  const D = t.D, scratch = t.scratch_p;
  const whole = s.loAll <= j0 && j0 + 64 <= s.hiAll;
  let from: i32 = 0, to: i32 = 64, all: u64 = ~0;
  if (!whole || (t.mask_p | t.blocks_p)) {
    const words = scratch + WORDS;
    const some = seen_4x64(t, row, j0, words);
    if (some == 0) return -1;
    from = <i32> ctz(some) & ~15;
    to = ((63 - <i32> clz(some)) | 15) + 1;
    all = load<u64>(words) & load<u64>(words, 8) & load<u64>(words, 16) & load<u64>(words, 24);
  }
  s.from = from;
  s.to = to;
  t.visited++;
  const k_p = t.k_p + ((<usize> (j0 - t.key0)) + <usize> from) * ((<usize> D) << 2);
  const s_p = scratch + ((<usize> from) << 2);
  if (t.flags & QUANTISED) scores_i16(t, row, j0, s);
  else products(t, row, k_p, (to - from) >> 3, s_p, scratch + TOPS);
  if (t.flags & SCORES) score(t, row, j0, from, to);
  if (~all) {
    hide_4x64(scratch, scratch + WORDS, from, to);
    t.masked++;
    return 1;
  }
  return t.flags & (QUANTISED | SCORES);
}

/** S = Q·Kᵀ of four rows, 64 of D at a time, and its maxima. */
function products(t: Task, row: i32, k_p: usize, strips: i32, s_p: usize, top_p: usize): void {
  const D = t.D, ldK = (<usize> D) << 5;
  let q_p = t.q_p + (<usize> row) * rowQ(D);
  for (let d: i32 = 0; d < D; d += 64) {
    const n = min(D - d, 64), from = d == 0 ? ZEROS - s_p : 0, tops = d + 64 < D ? 0 : top_p;
    if (twins(t)) gemm_f32_4x8_scalar(q_p, k_p, n, strips, ldK, s_p, 256, from, tops);
    else gemm_f32_4x8(q_p, k_p, n, strips, ldK, s_p, 256, from, tops);
    q_p += 1024;
    k_p += 2048;
  }
}

/** Softcap, ALiBi and bias of the four rows. */
function score(t: Task, row: i32, j0: i32, from: i32, to: i32): void {
  for (let r: i32 = 0; r < 4; r++) {
    const pos = load<i32>(t.bounds_p + ((<usize> (row + r)) << 4), 12);
    score_f32_64(t, t.scratch_p + ((<usize> r) << 8), row + r, pos, j0, from, to);
  }
}

/** Scores and intervals on the four rows of the tile; 32 bytes at words_p are overwritten. */
export function prepare(t: Task, row: i32, j0: i32, from: i32, to: i32, whole: bool, words_p: usize): void {
  if (t.flags & SCORES) score(t, row, j0, from, to);
  if (whole) return;
  seen_4x64(t, row, j0, words_p);
  hide_4x64(t.scratch_p, words_p, from, to);
}

/** Dropout of the four rows of P. */
export function drop(t: Task, row: i32, j0: i32, from: i32, to: i32): void {
  let s_p = t.scratch_p;
  let keys = t.drop_p + ((<usize> row) << 3);
  for (let r: i32 = 0; r < 4; r++, s_p += 256, keys += 8) {
    const k0 = load<i32>(keys), k1 = load<i32>(keys, 4);
    if (twins(t)) drop_f32_64_scalar(s_p, j0, from, to, k0, k1, t.threshold);
    else drop_f32_64(s_p, j0, from, to, k0, k1, t.threshold);
  }
}

/** V of this tile holds ∞ or NaN, and 0·∞ is NaN: remember which keys each row must not touch. */
function flagMasked(scratch: usize, from: i32, to: i32): void {
  for (let r: usize = 0; r < 4; r++) {
    for (let j: usize = from; j < <usize> to; j++) {
      const masked = load<f32>(scratch + (r << 8) + (j << 2)) == -Infinity;
      store<u8>(scratch + FLAGS + (r << 6) + j, masked ? 1 : 0);
    }
  }
}

/** O += P·V over the keys that are not flagged; slow, for tiles that hold ∞ or NaN. */
function poisonedValues(scratch: usize, v_p: usize, from: i32, keys: i32, strips: i32, o_p: usize): void {
  for (let r: usize = 0; r < 4; r++) {
    for (let n: usize = 0; n < <usize> strips; n++, o_p += 32) {
      let a = v128.load(o_p), b = v128.load(o_p, 16);
      let v = v_p + (n << 11);
      for (let j: usize = from; j < <usize> (from + keys); j++, v += 32) {
        if (load<u8>(scratch + FLAGS + (r << 6) + j)) continue;
        const p = v128.load32_splat(scratch + (r << 8) + (j << 2));
        a = f32x4.add(a, f32x4.mul(p, v128.load(v)));
        b = f32x4.add(b, f32x4.mul(p, v128.load(v, 16)));
      }
      v128.store(o_p, a);
      v128.store(o_p, b, 16);
    }
  }
}
