// deno-fmt-ignore-file: deno fmt deletes @inline
/**
 * One step of the online softmax for 4 rows and up to 64 keys, P to codes:
 *
 *   t = max_j S_j of the tile         m' = max(m, t) if (t − m)·c > 8, else m     O, l ← O·α, l·α   α = 2^((m − m')·c)
 *   p_j = top·2^((S_j − t)·c) ≤ top   l ← l + w·Σ_j p_j                           w = 2^((t − m')·c)
 *   P_j = round(p_j), ties to even, int16 in place over S; w, by which the tile's P·V counts, to w_p
 *
 * SageAttention's P is relative to the row's maximum; relative to the tile's, keys far below an attention sink keep all
 * their bits. l counts in units of top and is summed from p before it is rounded. P has no scale to look for: the
 * largest weight of every tile is exactly top, no code is larger, and sums of P·V cannot overflow (pv_i16_4x16.ts).
 *
 * As softmax_f32_4x64.ts: S = −∞ gives 0, t = −∞ counts as 0 in the exponent; NaN ends in l of its row (its codes are
 * anything). c_p, m_p, l_p: 4 floats; w_p: 4 and 80 bytes to work in; table_p: exp2_table
 * of top. Nothing fuses in the relaxed build, so that the
 * integer modes give the same bits there.
 */
import { exp2 } from "../math/exp2";
import { largest4, rowTops, total4 } from "./row_max";
import { rescale, TAU } from "./softmax_f32_4x64";

/**
 * Constants of top·2^t, 8 vectors; top = factor·2^shift with factor in (½, 1]. As math/exp2.ts, of degree 4: p(f) is
 * minimax with p(0) = 1, off by 2.9e-6, where codes of 12 bits are 1.2e-4 apart. 0.06–0.1 ns an element less than degree
 * 5.
 */
export function exp2_table(dst_p: usize, factor: f32, shift: i32): void {
  v128.store(dst_p, f32x4.splat(-127 - <f32> shift));
  v128.store(dst_p, f32x4.splat(12583039 + <f32> shift), 16); // 1.5·2^23 + 127 + shift
  v128.store(dst_p, f32x4.splat(<f32> 0.009582852944731712 * factor), 32);
  v128.store(dst_p, f32x4.splat(<f32> 0.055906426161527634 * factor), 48);
  v128.store(dst_p, f32x4.splat(<f32> 0.24024099111557007 * factor), 64);
  v128.store(dst_p, f32x4.splat(<f32> 0.6931241750717163 * factor), 80);
  v128.store(dst_p, f32x4.splat(factor), 96);
  v128.store(dst_p, f32x4.splat(<f32> (1 / (<f64> factor * <f64> (1 << shift)))), 112);
}

export function softmax_i16_4x64(
  s_p: usize,
  from: i32,
  to: i32,
  c_p: usize,
  m_p: usize,
  l_p: usize,
  o_p: usize,
  strips: i32,
  table_p: usize,
  w_p: usize,
): void {
  const start = s_p + ((<usize> from) << 2);
  const span = (<usize> (to - from)) << 2;
  const negInf = f32x4.splat(-Infinity);
  const tops_p = w_p + 16, rows_p = w_p + 32;
  rowTops(s_p, from, to, rows_p);
  const top = largest4(rows_p);
  const old = v128.load(m_p), c = v128.load(c_p);
  const grown = f32x4.gt(f32x4.mul(f32x4.sub(top, old), c), f32x4.splat(TAU));
  const m = v128.bitselect(top, old, grown);
  const empty = f32x4.eq(top, negInf);
  v128.store(tops_p, v128.andnot(top, empty));
  v128.store(m_p, m);
  if (v128.any_true(grown)) {
    v128.store(w_p, old);
    for (let r: usize = 0; r < 16; r += 4, o_p += (<usize> strips) << 5) {
      rescale(load<f32>(w_p + r), load<f32>(m_p + r), load<f32>(c_p + r), l_p + r, o_p, strips);
    }
  }
  const w = v128.andnot(one4(f32x4.mul(f32x4.sub(top, m), c), table_p), empty);
  v128.store(w_p, w);
  const codes = s_p + ((<usize> from) << 1);
  for (let r: usize = 0; r < 4; r++) {
    const t = v128.load32_splat(tops_p + (r << 2)), k = v128.load32_splat(c_p + (r << 2));
    v128.store(rows_p + (r << 4), codeRow(start + (r << 8), codes + (r << 8), span, t, k, table_p));
  }
  v128.store(l_p, f32x4.add(v128.load(l_p), f32x4.mul(total4(rows_p), w)));
}

/**
 * S of a row → codes; returns 4 partial sums of p, of 16. The exponent's magic number also rounds p: one register less.
 * In three passes over the row, which fit the registers: 5 % (V8 11) to 13 % (JavaScriptCore) less time than in one.
 */
export function codeRow(s: usize, codes: usize, span: usize, m: v128, c: v128, table_p: usize): v128 {
  const k0 = v128.load(table_p), k1 = v128.load(table_p, 16);
  const end = s + span;
  let at = s;
  do {
    v128.store(at, f32x4.pmax(f32x4.mul(f32x4.sub(v128.load(at), m), c), k0));
    v128.store(at, f32x4.pmax(f32x4.mul(f32x4.sub(v128.load(at, 16), m), c), k0), 16);
    v128.store(at, f32x4.pmax(f32x4.mul(f32x4.sub(v128.load(at, 32), m), c), k0), 32);
    v128.store(at, f32x4.pmax(f32x4.mul(f32x4.sub(v128.load(at, 48), m), c), k0), 48);
    at += 64;
  } while (at < end);
  const k2 = v128.load(table_p, 32);
  const k3 = v128.load(table_p, 48);
  const k4 = v128.load(table_p, 64);
  const k5 = v128.load(table_p, 80);
  const k6 = v128.load(table_p, 96);
  at = s;
  do {
    v128.store(at, power(v128.load(at), k1, k2, k3, k4, k5, k6));
    v128.store(at, power(v128.load(at, 16), k1, k2, k3, k4, k5, k6), 16);
    v128.store(at, power(v128.load(at, 32), k1, k2, k3, k4, k5, k6), 32);
    v128.store(at, power(v128.load(at, 48), k1, k2, k3, k4, k5, k6), 48);
    at += 64;
  } while (at < end);
  let y0 = f32x4.splat(0), y1 = y0, y2 = y0, y3 = y0;
  do {
    const p0 = v128.load(s), p1 = v128.load(s, 16), p2 = v128.load(s, 32), p3 = v128.load(s, 48);
    y0 = f32x4.add(y0, p0);
    y1 = f32x4.add(y1, p1);
    y2 = f32x4.add(y2, p2);
    y3 = f32x4.add(y3, p3);
    const a0 = i32x4.sub(f32x4.add(p0, k1), k1), a1 = i32x4.sub(f32x4.add(p1, k1), k1);
    v128.store(codes, i16x8.narrow_i32x4_s(a0, a1));
    const a2 = i32x4.sub(f32x4.add(p2, k1), k1), a3 = i32x4.sub(f32x4.add(p3, k1), k1);
    v128.store(codes, i16x8.narrow_i32x4_s(a2, a3), 16);
    s += 64;
    codes += 32;
  } while (s < end);
  return f32x4.add(f32x4.add(y0, y1), f32x4.add(y2, y3));
}

/** 2^t. */
function one4(t: v128, k: usize): v128 {
  const a = v128.load(k, 32), b = v128.load(k, 48), c = v128.load(k, 64), d = v128.load(k, 80);
  const p = power(f32x4.pmax(t, v128.load(k)), v128.load(k, 16), a, b, c, d, v128.load(k, 96));
  return f32x4.mul(p, v128.load(k, 112));
}

/** top·2^t, t not below the table's least; nothing fuses. */
// @ts-ignore: decorator
@inline
function power(t: v128, k1: v128, k2: v128, k3: v128, k4: v128, k5: v128, k6: v128): v128 {
  const z = f32x4.add(t, k1);
  const f = f32x4.sub(t, f32x4.sub(z, k1));
  let p = f32x4.add(f32x4.mul(f, k2), k3);
  p = f32x4.add(f32x4.mul(f, p), k4);
  p = f32x4.add(f32x4.mul(f, p), k5);
  p = f32x4.add(f32x4.mul(f, p), k6);
  return f32x4.mul(p, i32x4.shl(z, 23));
}

/** Scalar twin: the same 16 partial sums, the same bits. */
export function softmax_i16_4x64_scalar(
  s_p: usize,
  from: i32,
  to: i32,
  c_p: usize,
  m_p: usize,
  l_p: usize,
  o_p: usize,
  strips: i32,
  table_p: usize,
  w_p: usize,
): void {
  for (let r: usize = 0; r < 16; r += 4, s_p += 256, o_p += (<usize> strips) << 5) {
    const c = load<f32>(c_p + r);
    let t: f32 = -Infinity;
    for (let j: i32 = from; j < to; j++) {
      const s = load<f32>(s_p + ((<usize> j) << 2));
      if (t < s) t = s;
    }
    if ((t - load<f32>(m_p + r)) * c > TAU) {
      const a = exp2((load<f32>(m_p + r) - t) * c);
      store<f32>(m_p + r, t);
      store<f32>(l_p + r, load<f32>(l_p + r) * a);
      for (let at: usize = 0; at < (<usize> strips) << 5; at += 4) {
        store<f32>(o_p + at, load<f32>(o_p + at) * a);
      }
    }
    const w = t == -Infinity ? <f32> 0 : power1((t - load<f32>(m_p + r)) * c, table_p) * load<f32>(table_p, 112);
    store<f32>(w_p + r, w);
    if (t == -Infinity) t = 0;
    const sum = (laneSum(s_p, from, to, t, c, table_p) + laneSum(s_p, from + 2, to, t, c, table_p)) +
      (laneSum(s_p, from + 1, to, t, c, table_p) + laneSum(s_p, from + 3, to, t, c, table_p));
    store<f32>(l_p + r, load<f32>(l_p + r) + sum * w);
    for (let j: i32 = from; j < to; j++) {
      const k = load<f32>(table_p, 16);
      const code = reinterpret<i32>(weight(s_p, j, t, c, table_p) + k) - reinterpret<i32>(k);
      store<i16>(s_p + ((<usize> j) << 1), <i16> max(-32768, min(32767, code)));
    }
  }
}

/** p of key j, as codeRow computes it. */
function weight(row: usize, j: i32, m: f32, c: f32, k: usize): f32 {
  return power1((load<f32>(row + ((<usize> j) << 2)) - m) * c, k);
}

function power1(t: f32, k: usize): f32 {
  if (t < load<f32>(k)) t = load<f32>(k);
  const z = t + load<f32>(k, 16);
  const f = t - (z - load<f32>(k, 16));
  let p = f * load<f32>(k, 32);
  for (let at: usize = 48; at < 96; at += 16) p = (p + load<f32>(k + at)) * f;
  return (p + load<f32>(k, 96)) * reinterpret<f32>(reinterpret<i32>(z) << 23);
}

/** Keys from, from + 16, … and the three vectors between, as codeRow sums them. */
function laneSum(row: usize, from: i32, to: i32, m: f32, c: f32, k: usize): f32 {
  let sum: f32 = 0;
  for (let pair: i32 = 0; pair < 16; pair += 8) {
    let a: f32 = 0, b: f32 = 0;
    for (let j = from + pair; j < to; j += 16) {
      a += weight(row, j, m, c, k);
      b += weight(row, j + 4, m, c, k);
    }
    sum = pair ? sum + (a + b) : a + b;
  }
  return sum;
}
