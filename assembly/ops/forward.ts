/**
 * Fused forward: a chunk of query rows against a panel of keys, S and P never larger than 4×64.
 *
 *   for each block of Br rows                      O, m, l of the block stay in L1
 *     for each tile of 64 keys that some row of the block may see           FlashAttention-2, algorithm 1
 *       for each strip of 4 rows:   S = Q·Kᵀ → (scores) → (masks) → online softmax → O += P·V
 *   finish_f32: O / l, lse = m + ln l
 *
 * Tiles are cut from key 0 in steps of 64 and every row's arithmetic depends on that row alone: Br, the chunk, the
 * panel and the neighbours in a strip change no bits. A tile that all four rows see whole is never masked, one that
 * none of them sees is never computed; in between only the groups of 16 keys that some row sees are.
 *
 * 2·(D + E) flops for each (row, key) from 4·(D + E)/Br bytes of K and V out of L2.
 */
import { exp2, LOG2E } from "../math/exp2";
import { ln } from "../math/ln";
import { pack_k_f32, pack_q_f32, pack_v_f32 } from "../tile/pack";
import { pv_f32_4x8, pv_f32_4x8_scalar } from "../tile/pv_f32_4x8";
import { qk_f32_4x8, qk_f32_4x8_scalar } from "../tile/qk_f32_4x8";
import { drop_f32_64, drop_f32_64_scalar } from "../tile/drop_f32_64";
import { score_f32_64 } from "../tile/score_f32_64";
import { rowTops } from "../tile/row_max";
import { hide_4x64, seen_4x64 } from "../tile/seen_4x64";
import { softmax_f32_4x64, softmax_f32_4x64_scalar, WORK } from "../tile/softmax_f32_4x64";
import { addMean, openValues, scores_i16, values_i16 } from "./quantised";
import { FIRST, NATURAL, PLAIN_PV, QUANTISED, SCORES, SINK_IN_LSE, Task, TILE_V, twins } from "./task";

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
    if (!poisoned) pv_f32_4x8_scalar(s_p, v_p, keys, strips, o_p, ldO);
  } else {
    softmax_f32_4x64(scratch, from, to, t.c, t.m_p + state, t.l_p + state, o_p, strips, top_p);
    if (t.drop_p) drop(t, row, j0, from, to);
    if (!poisoned) pv_f32_4x8(s_p, v_p, keys, strips, o_p, ldO);
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
  const q_p = t.q_p + (<usize> row) * ((<usize> D) << 2);
  const k_p = t.k_p + ((<usize> (j0 - t.key0)) + <usize> from) * ((<usize> D) << 2);
  const s_p = scratch + ((<usize> from) << 2);
  if (t.flags & QUANTISED) scores_i16(t, row, j0, s);
  else if (twins(t)) qk_f32_4x8_scalar(q_p, k_p, D, (to - from) >> 3, s_p, 256, scratch + TOPS);
  else qk_f32_4x8(q_p, k_p, D, (to - from) >> 3, s_p, 256, scratch + TOPS);
  if (t.flags & SCORES) score(t, row, j0, from, to);
  if (~all) {
    hide_4x64(scratch, scratch + WORDS, from, to);
    t.masked++;
    return 1;
  }
  return t.flags & (QUANTISED | SCORES);
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

/**
 * States → results: out [rows][E] (out_p may be o_p), with 28 bytes behind it that are overwritten, and lse [rows]. The
 * sink is a logit that only the denominator sees. A row without keys gives O = 0 and lse = −∞, or the sink.
 */
export function finish_f32(t: Task): void {
  const ldO = (<usize> t.strips) << 5;
  const E = <usize> t.E;
  const quantised = (t.flags & QUANTISED) != 0;
  // lse in natural units: c·S·ln 2 is scale·S, and S itself after the scores pass.
  let unit = t.flags & NATURAL ? 1 : <f64> t.scale, shift: f64 = 0;
  for (let r: usize = 0; r < <usize> t.rows; r++) {
    const codes = load<f32>(t.l_p + (r << 2));
    const l = quantised ? codes / t.top : codes;
    if (quantised && !(t.flags & NATURAL)) {
      unit = <f64> load<f32>(t.unit_p + (r << 2));
      shift = <f64> load<f32>(t.shift_p + (r << 2));
    }
    const m = load<f32>(t.m_p + (r << 2));
    const top = m == -Infinity ? -Infinity : <f64> m * unit + shift;
    // What lse is the logarithm of is total·e^base.
    let w: f32 = 1, total = l, base = top, counted = l;
    if (t.sink_p) {
      const sink = <f64> load<f32>(t.sink_p + (r << 2));
      if (sink > top) {
        const x = (top - sink) * LOG2E;
        // Near the end in two steps: m may lag 2^8 behind, and keys would be cut off that much earlier.
        w = x > -100 ? exp2(<f32> x) : <f32> (<f64> exp2(<f32> (x + 64)) * 5.421010862427522e-20); // 2^-64
        total = l * w + <f32> 1;
        if (t.flags & SINK_IN_LSE) base = sink, counted = total;
      } else if (sink > -Infinity) {
        total = l + exp2(<f32> ((sink - top) * LOG2E));
        if (t.flags & SINK_IN_LSE) counted = total;
      }
    }
    if (t.lse_p) store<f32>(t.lse_p + (r << 2), <f32> logSum(base, counted));
    const o = t.o_p + r * ldO;
    const out = t.out_p + r * (E << 2);
    if (total == 0) {
      memory.fill(out, 0, E << 2);
      continue;
    }
    // What weights_f32 multiplies with.
    store<f32>(t.l_p + (r << 2), w / total * t.keep);
    if (quantised && t.mean_p) addMean(o, t.mean_p, <usize> t.strips, codes);
    divideRow(o, out, t.strips, w, total, t.unscale);
  }
}

/** base + ln l; without a key −∞, unless what was hidden is NaN. */
function logSum(base: f64, l: f32): f64 {
  if (base == -Infinity) return l == 0 ? base : NaN;
  return base + ln(l);
}

/**
 * out = o·w/l·unscale, in whole strips: what they write behind the row's E columns is where the next row goes, and behind
 * the last there has to be room. out may be o, packed tighter.
 */
function divideRow(o: usize, out: usize, strips: i32, w: f32, l: f32, unscale: f32): void {
  const ww = f32x4.splat(w), ll = f32x4.splat(l), uu = f32x4.splat(unscale);
  for (; strips > 0; strips--) {
    const a = v128.load(o), b = v128.load(o, 16);
    v128.store(out, f32x4.mul(f32x4.div(f32x4.mul(a, ww), ll), uu));
    v128.store(out, f32x4.mul(f32x4.div(f32x4.mul(b, ww), ll), uu), 16);
    o += 32;
    out += 32;
  }
}

/**
 * All heads of a batch, whose K and V fit the panel and whose rows the chunk: what JavaScript otherwise asks for call by
 * call, 0.5 µs a head. The rows of Q, K and V follow one another, so do Q's heads and out's; K's and V's are k_head and
 * v_head bytes apart. heads ≥ 1. Returns the largest bits of V, as pack_v_f32: from 2^88 on the results are no good.
 */
export function heads_f32(
  t: Task,
  heads: i32,
  q_p: usize,
  k_p: usize,
  v_p: usize,
  k_head: usize,
  v_head: usize,
  mul: f32,
): i32 {
  const D = t.D, E = t.E, rows = t.rows, keys = t.keys;
  let bits: i32 = 0;
  do {
    pack_q_f32(q_p, D, rows, D, t.q_p, mul);
    pack_k_f32(k_p, D, keys, D, t.k_p);
    bits = max(bits, pack_v_f32(v_p, E, keys, E, t.v_p, 0, 1));
    forward_f32(t);
    finish_f32(t);
    q_p += (<usize> (rows * D)) << 2;
    k_p += k_head;
    v_p += v_head;
    t.out_p += (<usize> (rows * E)) << 2;
  } while (--heads);
  return bits;
}
