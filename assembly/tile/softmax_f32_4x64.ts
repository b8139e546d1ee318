/**
 * One step of the online softmax for 4 rows and up to 64 keys (FlashAttention-2, algorithm 1, lines 9–10):
 *
 *   m' = max(m, max_j S_j)   if (m' − m)·c > 8, else m        O, l ← O·α, l·α   α = 2^((m − m')·c)
 *   P_j = 2^((S_j − m')·c)   in place over S                  l ← l + Σ_j P_j
 *
 * c is log2(e) times the scale. Rescaling only when the maximum grew by more than 2^8 (FlashAttention-4) spares the
 * pass over O on nearly every tile; P stays ≤ 2^8. The rule, and the order of the sum (16 partial sums, key j into
 * sum j mod 16, then pairwise), are decided per row and belong to the profile.
 *
 * S = −∞ gives P = 0; m = −∞ counts as 0 in the exponent, so that a row without keys stays at l = 0; NaN is skipped
 * by the maximum and ends in l and O of its row. 64·4 elements cost ≈ 15 operations for 4 lanes: a tenth of the time
 * of the two matrix products at D = 64.
 *
 * top_p: the largest S of each row among those keys, lane by lane, as the scores tile or rowTops leaves them; WORK bytes,
 * all of which are overwritten.
 * s_p: rows 256 bytes apart; only keys from ≤ j < to are read and written, both multiples of 16. m_p, l_p: 4 floats
 * each; o_p: rows of 8·strips floats.
 */
import { largest4, total4 } from "./row_max";
import { exp2, EXP2_TABLE, poly4, rest4, scale4, whole4 } from "../math/exp2";

/** Growth of the maximum, in powers of 2, that a row puts up with before it is rescaled. */
export const TAU: f32 = 8;
/** Bytes at top_p: maxima [4][4], four floats, the exponents of a row. */
export const WORK: usize = 64 + 16 + 256;

export function softmax_f32_4x64(
  s_p: usize,
  from: i32,
  to: i32,
  c: f32,
  m_p: usize,
  l_p: usize,
  o_p: usize,
  strips: i32,
  top_p: usize,
): void {
  const start = s_p + ((<usize> from) << 2);
  const span = (<usize> (to - from)) << 2;
  const top = largest4(top_p);
  const old = v128.load(m_p), cc = f32x4.splat(c);
  const grown = f32x4.gt(f32x4.mul(f32x4.sub(top, old), cc), f32x4.splat(TAU));
  const m = v128.bitselect(top, old, grown);
  v128.store(m_p, m);
  // Before a row's first key there is nothing to rescale.
  if (v128.any_true(v128.and(grown, f32x4.ne(old, f32x4.splat(-Infinity))))) {
    v128.store(top_p, old);
    for (let r: usize = 0; r < 16; r += 4, o_p += (<usize> strips) << 5) {
      rescale(load<f32>(top_p + r), load<f32>(m_p + r), c, l_p + r, o_p, strips);
    }
  }
  v128.store(top_p, v128.andnot(m, f32x4.eq(m, f32x4.splat(-Infinity))), 64);
  for (let r: usize = 0; r < 4; r++) {
    const base = v128.load32_splat(top_p + (r << 2), 64);
    v128.store(top_p + (r << 4), expRow(start + (r << 8), span, base, cc, top_p + 80));
  }
  v128.store(l_p, f32x4.add(v128.load(l_p), total4(top_p)));
}

/**
 * s ← 2^((s − m)·c) for a row, as exp2x4; returns 4 partial sums. In three passes, with 2^n of each element in z_p [64]
 * between the first two: in one piece 20 operations of 60 cycles of latency are more than a core's scheduler holds of
 * the vectors that would keep it busy (Zen 5: 7 % of the softmax, natively 15).
 */
export function expRow(s: usize, span: usize, m: v128, c: v128, z_p: usize): v128 {
  const k0 = v128.load(EXP2_TABLE);
  const k1 = v128.load(EXP2_TABLE, 16);
  const first = s, end = s + span;
  let z = z_p;
  do {
    const t0 = f32x4.pmax(f32x4.mul(f32x4.sub(v128.load(s), m), c), k0);
    const t1 = f32x4.pmax(f32x4.mul(f32x4.sub(v128.load(s, 16), m), c), k0);
    const z0 = whole4(t0, k1);
    const z1 = whole4(t1, k1);
    v128.store(s, rest4(t0, z0, k1));
    v128.store(s, rest4(t1, z1, k1), 16);
    v128.store(z, scale4(z0));
    v128.store(z, scale4(z1), 16);
    s += 32;
    z += 32;
  } while (s < end);
  const k2 = v128.load(EXP2_TABLE, 32);
  const k3 = v128.load(EXP2_TABLE, 48);
  const k4 = v128.load(EXP2_TABLE, 64);
  const k5 = v128.load(EXP2_TABLE, 80);
  const k6 = v128.load(EXP2_TABLE, 96);
  const k7 = v128.load(EXP2_TABLE, 112);
  s = first;
  z = z_p;
  do {
    const p0 = poly4(v128.load(s), k2, k3, k4, k5, k6, k7);
    const p1 = poly4(v128.load(s, 16), k2, k3, k4, k5, k6, k7);
    v128.store(s, f32x4.mul(p0, v128.load(z)));
    v128.store(s, f32x4.mul(p1, v128.load(z, 16)), 16);
    s += 32;
    z += 32;
  } while (s < end);
  s = first;
  let y0 = f32x4.splat(0), y1 = f32x4.splat(0), y2 = f32x4.splat(0), y3 = f32x4.splat(0);
  do {
    y0 = f32x4.add(y0, v128.load(s));
    y1 = f32x4.add(y1, v128.load(s, 16));
    y2 = f32x4.add(y2, v128.load(s, 32));
    y3 = f32x4.add(y3, v128.load(s, 48));
    s += 64;
  } while (s < end);
  return f32x4.add(f32x4.add(y0, y1), f32x4.add(y2, y3));
}

/** Before a row's first key (old = −∞) l and O are 0 already. */
export function rescale(old: f32, m: f32, c: f32, l_p: usize, o_p: usize, strips: i32): void {
  if (old == m || old == -Infinity) return;
  const a = exp2((old - m) * c);
  store<f32>(l_p, load<f32>(l_p) * a);
  const aa = f32x4.splat(a);
  for (const end = o_p + ((<usize> strips) << 5); o_p < end; o_p += 16) {
    v128.store(o_p, f32x4.mul(v128.load(o_p), aa));
  }
}

/** Scalar twin: the same 16 partial sums, the same bits in the deterministic build. */
export function softmax_f32_4x64_scalar(
  s_p: usize,
  from: i32,
  to: i32,
  c: f32,
  m_p: usize,
  l_p: usize,
  o_p: usize,
  strips: i32,
  top_p: usize,
): void {
  for (let r: usize = 0; r < 4; r++) {
    const row = s_p + (r << 8);
    const old = load<f32>(m_p + (r << 2));
    let m = old;
    for (let lane: usize = 0; lane < 16; lane += 4) {
      const s = load<f32>(top_p + (r << 4) + lane);
      if (m < s) m = s;
    }
    if ((m - old) * c > TAU) {
      const a = exp2((old - m) * c);
      store<f32>(m_p + (r << 2), m);
      store<f32>(l_p + (r << 2), load<f32>(l_p + (r << 2)) * a);
      for (let e: i32 = 0; e < strips * 8; e++) {
        const at = o_p + ((<usize> e) << 2);
        store<f32>(at, load<f32>(at) * a);
      }
    } else {
      m = old;
    }
    if (m == -Infinity) m = 0;
    for (let j: i32 = from; j < to; j++) {
      const at = row + ((<usize> j) << 2);
      store<f32>(at, exp2((load<f32>(at) - m) * c));
    }
    const sum = (laneSum(row, from, to) + laneSum(row, from + 2, to)) +
      (laneSum(row, from + 1, to) + laneSum(row, from + 3, to));
    store<f32>(l_p + (r << 2), load<f32>(l_p + (r << 2)) + sum);
    o_p += (<usize> strips) << 5;
  }
}

/** What one lane of exp_row's result holds: keys from, from + 16, … and the three vectors between. */
function laneSum(row: usize, from: i32, to: i32): f32 {
  return (strided(row, from, to) + strided(row, from + 4, to)) +
    (strided(row, from + 8, to) + strided(row, from + 12, to));
}

function strided(row: usize, from: i32, to: i32): f32 {
  let sum: f32 = 0;
  for (let j: i32 = from; j < to; j += 16) sum += load<f32>(row + ((<usize> j) << 2));
  return sum;
}
