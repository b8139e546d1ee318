/**
 * The largest of each row, lane by lane: element j in lane j mod 4. pmax(a, b) = a < b ? b : a skips NaN in b: what starts
 * from −∞ never takes one in. The order changes nothing but the sign of a zero.
 */
import { sums4 } from "./lanes";

/** Of one row, s to end a multiple of 64 bytes. */
export function rowMax(s: usize, end: usize): v128 {
  let a = f32x4.splat(-Infinity), b = a;
  do {
    a = f32x4.pmax(a, v128.load(s));
    b = f32x4.pmax(b, v128.load(s, 16));
    a = f32x4.pmax(a, v128.load(s, 32));
    b = f32x4.pmax(b, v128.load(s, 48));
    s += 64;
  } while (s < end);
  return f32x4.pmax(a, b);
}

/** Of 4 rows 256 bytes apart, elements from ≤ j < to: for scores that have changed since the scores tile. */
export function rowTops(s_p: usize, from: i32, to: i32, top_p: usize): void {
  const start = <usize> from << 2, end = <usize> to << 2;
  for (const last = s_p + 1024; s_p < last; s_p += 256, top_p += 16) {
    v128.store(top_p, rowMax(s_p + start, s_p + end));
  }
}

/** The largest lane of each of 4 vectors in memory. */
export function largest4(p: usize): v128 {
  const a = v128.load(p), b = v128.load(p, 16), c = v128.load(p, 32), d = v128.load(p, 48);
  const ab = f32x4.pmax(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.pmax(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.pmax(v128.shuffle<f64>(ab, cd, 0, 2), v128.shuffle<f64>(ab, cd, 1, 3));
}

/** The sum of each, (0+2) + (1+3). */
export function total4(p: usize): v128 {
  return sums4(v128.load(p), v128.load(p, 16), v128.load(p, 32), v128.load(p, 48));
}

/** Before any element. */
export function clearTops(top_p: usize): void {
  for (const end = top_p + 64; top_p < end; top_p += 16) v128.store(top_p, f32x4.splat(-Infinity));
}
