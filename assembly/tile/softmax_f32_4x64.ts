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
 * s_p: rows 256 bytes apart; only keys from ≤ j < to are read and written, both multiples of 16. m_p, l_p: 4 floats
 * each; o_p: rows of 8·strips floats.
 */
import { exp2, EXP2_TABLE, exp2x4 } from "../math/exp2";

/** Growth of the maximum, in powers of 2, that a row puts up with before it is rescaled. */
export const TAU: f32 = 8;

export function softmax_f32_4x64(
  s_p: usize,
  from: i32,
  to: i32,
  c: f32,
  m_p: usize,
  l_p: usize,
  o_p: usize,
  strips: i32,
): void {
  const start = s_p + ((<usize> from) << 2);
  const span = (<usize> (to - from)) << 2;
  const negInf = f32x4.splat(-Infinity);

  const x0 = rowMax(start, start + span, negInf);
  const x1 = rowMax(start + 256, start + 256 + span, negInf);
  const x2 = rowMax(start + 512, start + 512 + span, negInf);
  const x3 = rowMax(start + 768, start + 768 + span, negInf);
  const x01 = f32x4.pmax(v128.shuffle<f32>(x0, x1, 0, 4, 1, 5), v128.shuffle<f32>(x0, x1, 2, 6, 3, 7));
  const x23 = f32x4.pmax(v128.shuffle<f32>(x2, x3, 0, 4, 1, 5), v128.shuffle<f32>(x2, x3, 2, 6, 3, 7));
  const old = v128.load(m_p);
  let m = f32x4.pmax(
    old,
    f32x4.pmax(v128.shuffle<f32>(x01, x23, 0, 1, 4, 5), v128.shuffle<f32>(x01, x23, 2, 3, 6, 7)),
  );
  const cc = f32x4.splat(c);
  const grown = f32x4.gt(f32x4.mul(f32x4.sub(m, old), cc), f32x4.splat(TAU));
  m = v128.bitselect(m, old, grown);
  if (v128.any_true(grown)) {
    v128.store(m_p, m);
    rescale(f32x4.extract_lane(old, 0), f32x4.extract_lane(m, 0), c, l_p, o_p, strips);
    o_p += (<usize> strips) << 5;
    rescale(f32x4.extract_lane(old, 1), f32x4.extract_lane(m, 1), c, l_p + 4, o_p, strips);
    o_p += (<usize> strips) << 5;
    rescale(f32x4.extract_lane(old, 2), f32x4.extract_lane(m, 2), c, l_p + 8, o_p, strips);
    o_p += (<usize> strips) << 5;
    rescale(f32x4.extract_lane(old, 3), f32x4.extract_lane(m, 3), c, l_p + 12, o_p, strips);
  }
  m = v128.andnot(m, f32x4.eq(m, negInf));
  const y0 = expRow(start, span, v128.shuffle<f32>(m, m, 0, 0, 0, 0), cc);
  const y1 = expRow(start + 256, span, v128.shuffle<f32>(m, m, 1, 1, 1, 1), cc);
  const y2 = expRow(start + 512, span, v128.shuffle<f32>(m, m, 2, 2, 2, 2), cc);
  const y3 = expRow(start + 768, span, v128.shuffle<f32>(m, m, 3, 3, 3, 3), cc);
  const y01 = f32x4.add(v128.shuffle<f32>(y0, y1, 0, 4, 1, 5), v128.shuffle<f32>(y0, y1, 2, 6, 3, 7));
  const y23 = f32x4.add(v128.shuffle<f32>(y2, y3, 0, 4, 1, 5), v128.shuffle<f32>(y2, y3, 2, 6, 3, 7));
  const sum = f32x4.add(v128.shuffle<f32>(y01, y23, 0, 1, 4, 5), v128.shuffle<f32>(y01, y23, 2, 3, 6, 7));
  v128.store(l_p, f32x4.add(v128.load(l_p), sum));
}

/** Lanewise maximum of a row; pmax(a, b) = a < b ? b : a skips NaN in b. */
export function rowMax(s: usize, end: usize, negInf: v128): v128 {
  let a = negInf, b = negInf;
  do {
    a = f32x4.pmax(a, v128.load(s));
    b = f32x4.pmax(b, v128.load(s, 16));
    a = f32x4.pmax(a, v128.load(s, 32));
    b = f32x4.pmax(b, v128.load(s, 48));
    s += 64;
  } while (s < end);
  return f32x4.pmax(a, b);
}

/** s ← 2^((s − m)·c) for a row; returns 4 partial sums. */
export function expRow(s: usize, span: usize, m: v128, c: v128): v128 {
  const k0 = v128.load(EXP2_TABLE);
  const k1 = v128.load(EXP2_TABLE, 16);
  const k2 = v128.load(EXP2_TABLE, 32);
  const k3 = v128.load(EXP2_TABLE, 48);
  const k4 = v128.load(EXP2_TABLE, 64);
  const k5 = v128.load(EXP2_TABLE, 80);
  const k6 = v128.load(EXP2_TABLE, 96);
  const k7 = v128.load(EXP2_TABLE, 112);
  let y0 = f32x4.splat(0), y1 = f32x4.splat(0), y2 = f32x4.splat(0), y3 = f32x4.splat(0);
  const end = s + span;
  do {
    const p0 = exp2x4(f32x4.mul(f32x4.sub(v128.load(s), m), c), k0, k1, k2, k3, k4, k5, k6, k7);
    const p1 = exp2x4(f32x4.mul(f32x4.sub(v128.load(s, 16), m), c), k0, k1, k2, k3, k4, k5, k6, k7);
    const p2 = exp2x4(f32x4.mul(f32x4.sub(v128.load(s, 32), m), c), k0, k1, k2, k3, k4, k5, k6, k7);
    const p3 = exp2x4(f32x4.mul(f32x4.sub(v128.load(s, 48), m), c), k0, k1, k2, k3, k4, k5, k6, k7);
    v128.store(s, p0);
    v128.store(s, p1, 16);
    v128.store(s, p2, 32);
    v128.store(s, p3, 48);
    y0 = f32x4.add(y0, p0);
    y1 = f32x4.add(y1, p1);
    y2 = f32x4.add(y2, p2);
    y3 = f32x4.add(y3, p3);
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
  for (const end = o_p + ((<usize> strips) << 5); o_p < end; o_p += 32) {
    v128.store(o_p, f32x4.mul(v128.load(o_p), aa));
    v128.store(o_p, f32x4.mul(v128.load(o_p, 16), aa), 16);
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
): void {
  for (let r: usize = 0; r < 4; r++) {
    const row = s_p + (r << 8);
    const old = load<f32>(m_p + (r << 2));
    let m = old;
    for (let j: i32 = from; j < to; j++) {
      const s = load<f32>(row + ((<usize> j) << 2));
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
