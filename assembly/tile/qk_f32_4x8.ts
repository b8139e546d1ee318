/**
 * Scores tile: S[r, c] = Σ_d Q[r, d]·K[c, d] for 4 queries and 8·strips keys, d ascending, from 0.
 *
 * q_p: one strip of 4 queries, [D][4]; k_p: strips of 8 keys, [strips][D][8] (pack.ts); s_p: rows ldS bytes apart.
 * 2·4·8·D flops a strip of keys from 6 loads a step of d: 8 accumulators, 2 keys and the query's splat stay within
 * the 16 vector registers of x86-64 although V8 ≤ 12.4 hoists the loads of a basic block. So the four steps of a turn
 * stay four blocks, each with its own exit: in one block they spill (36 → 25 GFLOP/s), and one step a turn, which V8
 * unrolls twice, pays for its stack check (Zen 3: 71 → 81 % of the canary on Node 20, 89 → 92 on 24). D, strips ≥ 1.
 *
 * top_p: where the largest of each row goes, lane by lane (key c in lane c mod 4), [4][4]: while the sums are in
 * registers that is 2 operations for 4·8 elements, what the softmax would read all of them again for.
 *
 * Exported so that Binaryen doesn't inline it into its driver, where V8 spills the accumulators (46 → 30 GFLOP/s).
 */
import { madd } from "../math/madd";
import { clearTops } from "./row_max";

export function qk_f32_4x8(
  q_p: usize,
  k_p: usize,
  D: i32,
  strips: i32,
  s_p: usize,
  ldS: usize,
  top_p: usize,
): void {
  const end = q_p + ((<usize> D) << 4);
  clearTops(top_p);
  do {
    let s00 = f32x4.splat(0), s01 = f32x4.splat(0);
    let s10 = f32x4.splat(0), s11 = f32x4.splat(0);
    let s20 = f32x4.splat(0), s21 = f32x4.splat(0);
    let s30 = f32x4.splat(0), s31 = f32x4.splat(0);
    let q = q_p;
    do {
      {
        const k0 = v128.load(k_p), k1 = v128.load(k_p, 16);
        const q0 = v128.load32_splat(q);
        s00 = madd(q0, k0, s00);
        s01 = madd(q0, k1, s01);
        const q1 = v128.load32_splat(q, 4);
        s10 = madd(q1, k0, s10);
        s11 = madd(q1, k1, s11);
        const q2 = v128.load32_splat(q, 8);
        s20 = madd(q2, k0, s20);
        s21 = madd(q2, k1, s21);
        const q3 = v128.load32_splat(q, 12);
        s30 = madd(q3, k0, s30);
        s31 = madd(q3, k1, s31);
        k_p += 32;
        q += 16;
      }
      if (q >= end) break;
      {
        const k0 = v128.load(k_p), k1 = v128.load(k_p, 16);
        const q0 = v128.load32_splat(q);
        s00 = madd(q0, k0, s00);
        s01 = madd(q0, k1, s01);
        const q1 = v128.load32_splat(q, 4);
        s10 = madd(q1, k0, s10);
        s11 = madd(q1, k1, s11);
        const q2 = v128.load32_splat(q, 8);
        s20 = madd(q2, k0, s20);
        s21 = madd(q2, k1, s21);
        const q3 = v128.load32_splat(q, 12);
        s30 = madd(q3, k0, s30);
        s31 = madd(q3, k1, s31);
        k_p += 32;
        q += 16;
      }
      if (q >= end) break;
      {
        const k0 = v128.load(k_p), k1 = v128.load(k_p, 16);
        const q0 = v128.load32_splat(q);
        s00 = madd(q0, k0, s00);
        s01 = madd(q0, k1, s01);
        const q1 = v128.load32_splat(q, 4);
        s10 = madd(q1, k0, s10);
        s11 = madd(q1, k1, s11);
        const q2 = v128.load32_splat(q, 8);
        s20 = madd(q2, k0, s20);
        s21 = madd(q2, k1, s21);
        const q3 = v128.load32_splat(q, 12);
        s30 = madd(q3, k0, s30);
        s31 = madd(q3, k1, s31);
        k_p += 32;
        q += 16;
      }
      if (q >= end) break;
      {
        const k0 = v128.load(k_p), k1 = v128.load(k_p, 16);
        const q0 = v128.load32_splat(q);
        s00 = madd(q0, k0, s00);
        s01 = madd(q0, k1, s01);
        const q1 = v128.load32_splat(q, 4);
        s10 = madd(q1, k0, s10);
        s11 = madd(q1, k1, s11);
        const q2 = v128.load32_splat(q, 8);
        s20 = madd(q2, k0, s20);
        s21 = madd(q2, k1, s21);
        const q3 = v128.load32_splat(q, 12);
        s30 = madd(q3, k0, s30);
        s31 = madd(q3, k1, s31);
        k_p += 32;
        q += 16;
      }
    } while (q < end);
    v128.store(top_p, f32x4.pmax(f32x4.pmax(v128.load(top_p), s00), s01));
    v128.store(top_p, f32x4.pmax(f32x4.pmax(v128.load(top_p, 16), s10), s11), 16);
    v128.store(top_p, f32x4.pmax(f32x4.pmax(v128.load(top_p, 32), s20), s21), 32);
    v128.store(top_p, f32x4.pmax(f32x4.pmax(v128.load(top_p, 48), s30), s31), 48);
    let s = s_p;
    v128.store(s, s00);
    v128.store(s, s01, 16);
    s += ldS;
    v128.store(s, s10);
    v128.store(s, s11, 16);
    s += ldS;
    v128.store(s, s20);
    v128.store(s, s21, 16);
    s += ldS;
    v128.store(s, s30);
    v128.store(s, s31, 16);
    s_p += 32;
  } while (--strips);
}

/** Scalar twin: the same sums in the same order, the same bits in the deterministic build. */
export function qk_f32_4x8_scalar(
  q_p: usize,
  k_p: usize,
  D: i32,
  strips: i32,
  s_p: usize,
  ldS: usize,
  top_p: usize,
): void {
  clearTops(top_p);
  for (let n: i32 = 0; n < strips; n++) {
    for (let r: usize = 0; r < 4; r++) {
      for (let c: usize = 0; c < 8; c++) {
        let s: f32 = 0;
        for (let d: usize = 0; d < <usize> D; d++) {
          s += load<f32>(q_p + ((d * 4 + r) << 2)) * load<f32>(k_p + ((d * 8 + c) << 2));
        }
        store<f32>(s_p + r * ldS + (c << 2), s);
        const at = top_p + (r << 4) + ((c & 3) << 2);
        if (load<f32>(at) < s) store<f32>(at, s);
      }
    }
    k_p += (<usize> D) << 5;
    s_p += 32;
  }
}
