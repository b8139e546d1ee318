// deno-fmt-ignore-file: deno fmt deletes @inline, and what isn't inlined here halves the loops that call it.
/**
 * Scores against keys where they lie: S[r, j] = Σ_d Q[r, d]·K[j, d], K row-major with rows ldk bytes apart, for 4, 2 or 1
 * query rows. Every byte of K is read once, in the order it lies in memory: the prefetcher follows one stream of misses,
 * and every further row that is read beside it costs half of the speed.
 *
 * S[r, j] sums d in four lanes (d mod 4, each ascending from 0), then (0+2) + (1+3), in all kernels: a query's bits don't
 * depend on its neighbours. q_p: [⌈D/4⌉][rows][4], padded with zeros (pack_rows.ts). s_p: rows 256 bytes apart; up to 3
 * floats past the last key are overwritten.
 */
import { madd } from "../math/madd";
import { load1, load4, load_tail, sums4 } from "./lanes";

/**
 * 4 queries × 2 keys: 8 sums, 6 loads a step. While a pair is computed the next pair is touched line by line, so that the
 * misses stay in order and the two rows are hits: 23 GB/s from memory, without it 17. `more`: how many rows follow the
 * last key, which may be touched. Returns what was touched, so that nobody drops the loads.
 */
export function qk4x2<T>(
  q_p: usize,
  k_p: usize,
  ldk: usize,
  D: i32,
  keys: i32,
  s_p: usize,
  more: i32,
): i32 {
  const size = sizeof<T>() << 2;
  const full = D >> 2, rest = D & 3;
  const half = (full + 1) >> 1;
  let touched = 0;
  for (; keys > 0; keys -= 2) {
    const step = keys > 1 ? ldk : 0;
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
    let q = q_p, k = k_p;
    let ahead = keys + more >= 4 ? k_p + (ldk << 1) : k_p;
    let end = k_p + <usize> half * size;
    // Two halves of d: the first touches the next pair's first row, two lines for one, the second its second row.
    for (let part = 0; part < 2; part++) {
      let a = ahead;
      for (; k < end; k += size) {
        const x = load4<T>(k), y = load4<T>(k + step);
        touched |= load<i32>(a);
        a += size << 1;
        const q0 = v128.load(q), q1 = v128.load(q, 16), q2 = v128.load(q, 32), q3 = v128.load(q, 48);
        s0 = madd(x, q0, s0);
        t0 = madd(y, q0, t0);
        s1 = madd(x, q1, s1);
        t1 = madd(y, q1, t1);
        s2 = madd(x, q2, s2);
        t2 = madd(y, q2, t2);
        s3 = madd(x, q3, s3);
        t3 = madd(y, q3, t3);
        q += 64;
      }
      ahead += step;
      end = k_p + <usize> full * size;
    }
    if (rest) {
      const x = load_tail<T>(k, rest), y = load_tail<T>(k + step, rest);
      const q0 = v128.load(q), q1 = v128.load(q, 16), q2 = v128.load(q, 32), q3 = v128.load(q, 48);
      s0 = madd(x, q0, s0);
      t0 = madd(y, q0, t0);
      s1 = madd(x, q1, s1);
      t1 = madd(y, q1, t1);
      s2 = madd(x, q2, s2);
      t2 = madd(y, q2, t2);
      s3 = madd(x, q3, s3);
      t3 = madd(y, q3, t3);
    }
    const s = sums4(s0, s1, s2, s3), t = sums4(t0, t1, t2, t3);
    const low = v128.shuffle<f32>(s, t, 0, 4, 1, 5), high = v128.shuffle<f32>(s, t, 2, 6, 3, 7);
    v128.store_lane<f64>(s_p, low, 0);
    v128.store_lane<f64>(s_p, low, 1, 256);
    v128.store_lane<f64>(s_p, high, 0, 512);
    v128.store_lane<f64>(s_p, high, 1, 768);
    s_p += 8;
    k_p += ldk << 1;
  }
  return touched;
}

/**
 * 2 queries × 2 keys, one key after the other: the processor overlaps the chains of successive keys. ldq: bytes from one
 * group of 4 d to the next, 32, or 64 for two of four rows.
 */
export function qk2x2<T>(
  q_p: usize,
  ldq: usize,
  k_p: usize,
  ldk: usize,
  D: i32,
  keys: i32,
  s_p: usize,
): void {
  const rest = D & 3;
  const full = <usize> (D & ~3) * sizeof<T>();
  for (; keys > 0; keys -= 2) {
    let s0 = f32x4.splat(0), s1 = s0, t0 = s0, t1 = s0;
    let q = q_p, k = k_p;
    for (const end = k + full; k < end; k += sizeof<T>() << 2) {
      const x = load4<T>(k);
      s0 = madd(x, v128.load(q), s0);
      s1 = madd(x, v128.load(q, 16), s1);
      q += ldq;
    }
    if (rest) {
      const x = load_tail<T>(k, rest);
      s0 = madd(x, v128.load(q), s0);
      s1 = madd(x, v128.load(q, 16), s1);
    }
    if (keys > 1) k_p += ldk;
    q = q_p;
    k = k_p;
    for (const end = k + full; k < end; k += sizeof<T>() << 2) {
      const x = load4<T>(k);
      t0 = madd(x, v128.load(q), t0);
      t1 = madd(x, v128.load(q, 16), t1);
      q += ldq;
    }
    if (rest) {
      const x = load_tail<T>(k, rest);
      t0 = madd(x, v128.load(q), t0);
      t1 = madd(x, v128.load(q, 16), t1);
    }
    const s = sums4(s0, t0, s1, t1);
    v128.store_lane<f64>(s_p, s, 0);
    v128.store_lane<f64>(s_p, s, 1, 256);
    s_p += 8;
    k_p += ldk;
  }
}

/** 1 query × 4 keys, one key after the other: 32 GB/s from memory. */
export function qk1x4<T>(q_p: usize, k_p: usize, ldk: usize, D: i32, keys: i32, s_p: usize): void {
  for (; keys > 0; keys -= 4) {
    const a = dot<T>(q_p, k_p, D);
    if (keys > 1) k_p += ldk;
    const b = dot<T>(q_p, k_p, D);
    if (keys > 2) k_p += ldk;
    const c = dot<T>(q_p, k_p, D);
    if (keys > 3) k_p += ldk;
    v128.store(s_p, sums4(a, b, c, dot<T>(q_p, k_p, D)));
    k_p += ldk;
    s_p += 16;
  }
}

/** Four partial sums. */
// @ts-ignore: decorator
@inline
function dot<T>(q_p: usize, k_p: usize, D: i32): v128 {
  let s = f32x4.splat(0);
  for (const end = k_p + <usize> (D & ~3) * sizeof<T>(); k_p < end; k_p += sizeof<T>() << 2) {
    s = madd(load4<T>(k_p), v128.load(q_p), s);
    q_p += 16;
  }
  return D & 3 ? madd(load_tail<T>(k_p, D & 3), v128.load(q_p), s) : s;
}

/**
 * For `rows` 4, 2 or 1. Four rows on 16-bit keys are twice two: the second pass finds the tile in L1, and a kernel of
 * their own would cost 1 KB for each type.
 */
export function qk_rows<T>(
  rows: i32,
  q_p: usize,
  k_p: usize,
  ldk: usize,
  D: i32,
  keys: i32,
  s_p: usize,
  more: i32,
): i32 {
  if (rows == 4) {
    if (sizeof<T>() == 4) return qk4x2<T>(q_p, k_p, ldk, D, keys, s_p, more);
    qk2x2<T>(q_p, 64, k_p, ldk, D, keys, s_p);
    qk2x2<T>(q_p + 32, 64, k_p, ldk, D, keys, s_p + 512);
  } else if (rows == 2) qk2x2<T>(q_p, 32, k_p, ldk, D, keys, s_p);
  else qk1x4<T>(q_p, k_p, ldk, D, keys, s_p);
  return 0;
}

/** Scalar twin of all: the same bits in the deterministic build. */
export function qk_rows_scalar<T>(
  rows: i32,
  q_p: usize,
  k_p: usize,
  ldk: usize,
  D: i32,
  keys: i32,
  s_p: usize,
  _more: i32,
): i32 {
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < keys; j++) {
      const k = k_p + <usize> j * ldk;
      const s = (lane<T>(q_p, k, D, r, rows, 0) + lane<T>(q_p, k, D, r, rows, 2)) +
        (lane<T>(q_p, k, D, r, rows, 1) + lane<T>(q_p, k, D, r, rows, 3));
      store<f32>(s_p + (<usize> r << 8) + (<usize> j << 2), s);
    }
  }
  return 0;
}

function lane<T>(q_p: usize, k_p: usize, D: i32, r: i32, rows: i32, first: i32): f32 {
  let s: f32 = 0;
  for (let d = first; d < D; d += 4) {
    const q = load<f32>(q_p + (<usize> (((d >> 2) * rows + r) * 4 + first) << 2));
    s += load1<T>(k_p + <usize> d * sizeof<T>()) * q;
  }
  return s;
}

/** The table's rows: float32. */
export function qk_f32_rows(
  rows: i32,
  q_p: usize,
  k_p: usize,
  ldk: usize,
  D: i32,
  keys: i32,
  s_p: usize,
  more: i32,
): i32 {
  return qk_rows<f32>(rows, q_p, k_p, ldk, D, keys, s_p, more);
}

export function qk_f32_rows_scalar(
  rows: i32,
  q_p: usize,
  k_p: usize,
  ldk: usize,
  D: i32,
  keys: i32,
  s_p: usize,
  more: i32,
): i32 {
  return qk_rows_scalar<f32>(rows, q_p, k_p, ldk, D, keys, s_p, more);
}
