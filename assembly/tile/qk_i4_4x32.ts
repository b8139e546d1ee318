// deno-fmt-ignore-file: deno fmt deletes @inline
/**
 * Scores tile on 4-bit codes of K, two keys a lane: S[r, c] = (Σ_d Q[r, d]·K[c, d])·unit[c] for 4 queries and 32·strips keys.
 *
 * q_p: as qk_i16_4x16.ts, |code| ≤ 7; k_p: lanes a + 4096·b of keys c and c + 16 (nibbles.ts); unit_p: one float32 a key;
 * s_p: float32, rows 256 bytes apart. Σ q·(a + 4096·b) = A + 4096·B: one i32x4.dot_i16x8_s and one addition do 16
 * products, twice what they do on single codes, and the same integers come out:
 *
 *   every 16 pairs   A ← A + (the low 12 bits of Σ − A, with their sign)        at the end   B = (Σ − A)/4096
 *
 * Exact, since 32 products add to A at most 32·7·7 = 1568 < 2048 (1792 with −8), and no sum overflows: all of a lane is an
 * int16, 7·2¹⁵·D < 2³¹ up to D = 9362, whatever lies where the panel has no keys; what a lane that wraps loses is of b.
 * A waits in the rows of S. 2·4·32·D flop-equivalents a strip, 175 GF-equivalent on Node 24 where single lanes do 110; unpacked within the
 * tile, for two rows at a time, single lanes do 73. pairs ≥ 1, strips ≥ 1.
 */

/** Products that A has room for. */
const GROUP: usize = 16 << 4;

export function qk_i4_4x32(q_p: usize, k_p: usize, pairs: i32, strips: i32, unit_p: usize, s_p: usize): void {
  const size = (<usize> pairs) << 4;
  const zero = i32x4.splat(0);
  do {
    for (let r: usize = 0; r < 2; r++) {
      let x00 = zero, x01 = zero, x02 = zero, x03 = zero, x10 = zero, x11 = zero, x12 = zero, x13 = zero;
      let q = q_p + (r << 3), k = k_p;
      const s = s_p + (r << 9), t = s + 256;
      v128.store(s, zero);
      v128.store(s, zero, 16);
      v128.store(s, zero, 32);
      v128.store(s, zero, 48);
      v128.store(t, zero);
      v128.store(t, zero, 16);
      v128.store(t, zero, 32);
      v128.store(t, zero, 48);
      const end = q + size;
      do {
        const stop = min(q + GROUP, end);
        do {
          const k0 = v128.load(k), k1 = v128.load(k, 16), k2 = v128.load(k, 32), k3 = v128.load(k, 48);
          const q0 = v128.load32_splat(q);
          x00 = i32x4.add(x00, i32x4.dot_i16x8_s(q0, k0));
          x01 = i32x4.add(x01, i32x4.dot_i16x8_s(q0, k1));
          x02 = i32x4.add(x02, i32x4.dot_i16x8_s(q0, k2));
          x03 = i32x4.add(x03, i32x4.dot_i16x8_s(q0, k3));
          const q1 = v128.load32_splat(q, 4);
          x10 = i32x4.add(x10, i32x4.dot_i16x8_s(q1, k0));
          x11 = i32x4.add(x11, i32x4.dot_i16x8_s(q1, k1));
          x12 = i32x4.add(x12, i32x4.dot_i16x8_s(q1, k2));
          x13 = i32x4.add(x13, i32x4.dot_i16x8_s(q1, k3));
          k += 64;
          q += 16;
        } while (q < stop);
        v128.store(s, lows(v128.load(s), x00));
        v128.store(s, lows(v128.load(s, 16), x01), 16);
        v128.store(s, lows(v128.load(s, 32), x02), 32);
        v128.store(s, lows(v128.load(s, 48), x03), 48);
        v128.store(t, lows(v128.load(t), x10));
        v128.store(t, lows(v128.load(t, 16), x11), 16);
        v128.store(t, lows(v128.load(t, 32), x12), 32);
        v128.store(t, lows(v128.load(t, 48), x13), 48);
      } while (q < end);
      split(s, x00, unit_p);
      split(s + 16, x01, unit_p + 16);
      split(s + 32, x02, unit_p + 32);
      split(s + 48, x03, unit_p + 48);
      split(t, x10, unit_p);
      split(t + 16, x11, unit_p + 16);
      split(t + 32, x12, unit_p + 32);
      split(t + 48, x13, unit_p + 48);
    }
    k_p += size << 2;
    unit_p += 128;
    s_p += 128;
  } while (--strips);
}

/** A after another group. */
// @ts-ignore: decorator
@inline
function lows(a: v128, x: v128): v128 {
  return i32x4.add(a, i32x4.shr_s(i32x4.shl(i32x4.sub(x, a), 20), 20));
}

/** A, which is at s, and Σ → scores of 4 keys and of those 16 further. */
// @ts-ignore: decorator
@inline
function split(s: usize, x: v128, unit_p: usize): void {
  const a = v128.load(s), b = i32x4.shr_s(i32x4.sub(x, a), 12);
  v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(a), v128.load(unit_p)));
  v128.store(s, f32x4.mul(f32x4.convert_i32x4_s(b), v128.load(unit_p, 64)), 64);
}

/** Scalar twin: integers are exact in any order, the same bits. */
export function qk_i4_4x32_scalar(q_p: usize, k_p: usize, pairs: i32, strips: i32, unit_p: usize, s_p: usize): void {
  for (let c: usize = 0; c < <usize> strips * 32; c++) {
    const k = k_p + (c >> 5) * ((<usize> pairs) << 6) + ((c & 15) << 2);
    for (let r: usize = 0; r < 4; r++) {
      let s: i32 = 0;
      for (let d: usize = 0; d < (<usize> pairs) << 1; d++) {
        const lane = <i32> load<i16>(k + ((d >> 1) << 6) + ((d & 1) << 1));
        const a = (lane << 20) >> 20;
        const code = c & 16 ? (lane - a) >> 12 : a;
        s += <i32> load<i16>(q_p + ((d >> 1) << 4) + (r << 2) + ((d & 1) << 1)) * code;
      }
      store<f32>(s_p + (r << 8) + (c << 2), <f32> s * load<f32>(unit_p + (c << 2)));
    }
  }
}
