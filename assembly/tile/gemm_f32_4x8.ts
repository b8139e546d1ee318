/**
 * The tile of both products: C[r, c] = I[r, c] + Σ_i A[r, i]·B[i, c] for 4 rows, n ≤ 64 of i, 8·strips columns, i ascending.
 *
 *   S = Q·Kᵀ   A a strip of Q, B keys d-major, i over 64 of D at a time     from 0
 *   O += P·V   A four rows of P, B values, i over the keys of a tile
 *
 * a_p: rows 256 bytes apart (a compile-time stride puts the four into immediate offsets, +5 %); b_p: [n][8] floats of
 * each strip, ldB bytes from one strip to the next (pack.ts); c_p: rows ldC bytes apart.
 * 2·4·8 flops a step of i from 6 loads: 8 accumulators, 2 of B and the splat of A stay within the 16 vector registers of
 * x86-64 although V8 ≤ 12.4 hoists the loads of a basic block. So the four steps of a turn stay four blocks, each with
 * its own exit: in one block they spill (36 → 25 GFLOP/s), and one step a turn, which V8 unrolls twice, pays for its
 * stack check (Zen 3: 71 → 81 % of the canary on Node 20, 89 → 92 on 24). n, strips ≥ 1.
 *
 * from: how far I lies behind C, whose strides it has: 0 to add to C; ZEROS less c_p, rows 256 bytes apart, to start from
 * 0 (a branch costs V8 15 a tenth of the tile). top_p: where the largest of each row goes, lane by lane (column c in lane
 * c mod 4), [4][4], or 0: while the sums are in registers that is 2 operations for 4·8 elements, what the softmax would
 * read all of them again for.
 *
 * One kernel for both products, so that a process that starts optimizes one. Exported so that Binaryen doesn't inline it
 * into its drivers, where V8 spills the accumulators (46 → 30 GFLOP/s).
 */
import { madd } from "../math/madd";
import { clearTops } from "./row_max";

/** A kilobyte of them, behind the tables in the first 64 KiB, which nobody writes. */
export const ZEROS: usize = 32768;

export function gemm_f32_4x8(
  a_p: usize,
  b_p: usize,
  n: i32,
  strips: i32,
  ldB: usize,
  c_p: usize,
  ldC: usize,
  from: usize,
  top_p: usize,
): void {
  const end = a_p + ((<usize> n) << 2);
  if (top_p) clearTops(top_p);
  do {
    const c1 = c_p + ldC;
    const c2 = c1 + ldC;
    const c3 = c2 + ldC;
    let c00 = v128.load(c_p + from), c01 = v128.load(c_p + from, 16);
    let c10 = v128.load(c1 + from), c11 = v128.load(c1 + from, 16);
    let c20 = v128.load(c2 + from), c21 = v128.load(c2 + from, 16);
    let c30 = v128.load(c3 + from), c31 = v128.load(c3 + from, 16);
    let a = a_p;
    let b = b_p;
    do {
      {
        const b0 = v128.load(b), b1 = v128.load(b, 16);
        const a0 = v128.load32_splat(a);
        c00 = madd(a0, b0, c00);
        c01 = madd(a0, b1, c01);
        const a1 = v128.load32_splat(a, 256);
        c10 = madd(a1, b0, c10);
        c11 = madd(a1, b1, c11);
        const a2 = v128.load32_splat(a, 512);
        c20 = madd(a2, b0, c20);
        c21 = madd(a2, b1, c21);
        const a3 = v128.load32_splat(a, 768);
        c30 = madd(a3, b0, c30);
        c31 = madd(a3, b1, c31);
        b += 32;
        a += 4;
      }
      if (a >= end) break;
      {
        const b0 = v128.load(b), b1 = v128.load(b, 16);
        const a0 = v128.load32_splat(a);
        c00 = madd(a0, b0, c00);
        c01 = madd(a0, b1, c01);
        const a1 = v128.load32_splat(a, 256);
        c10 = madd(a1, b0, c10);
        c11 = madd(a1, b1, c11);
        const a2 = v128.load32_splat(a, 512);
        c20 = madd(a2, b0, c20);
        c21 = madd(a2, b1, c21);
        const a3 = v128.load32_splat(a, 768);
        c30 = madd(a3, b0, c30);
        c31 = madd(a3, b1, c31);
        b += 32;
        a += 4;
      }
      if (a >= end) break;
      {
        const b0 = v128.load(b), b1 = v128.load(b, 16);
        const a0 = v128.load32_splat(a);
        c00 = madd(a0, b0, c00);
        c01 = madd(a0, b1, c01);
        const a1 = v128.load32_splat(a, 256);
        c10 = madd(a1, b0, c10);
        c11 = madd(a1, b1, c11);
        const a2 = v128.load32_splat(a, 512);
        c20 = madd(a2, b0, c20);
        c21 = madd(a2, b1, c21);
        const a3 = v128.load32_splat(a, 768);
        c30 = madd(a3, b0, c30);
        c31 = madd(a3, b1, c31);
        b += 32;
        a += 4;
      }
      if (a >= end) break;
      {
        const b0 = v128.load(b), b1 = v128.load(b, 16);
        const a0 = v128.load32_splat(a);
        c00 = madd(a0, b0, c00);
        c01 = madd(a0, b1, c01);
        const a1 = v128.load32_splat(a, 256);
        c10 = madd(a1, b0, c10);
        c11 = madd(a1, b1, c11);
        const a2 = v128.load32_splat(a, 512);
        c20 = madd(a2, b0, c20);
        c21 = madd(a2, b1, c21);
        const a3 = v128.load32_splat(a, 768);
        c30 = madd(a3, b0, c30);
        c31 = madd(a3, b1, c31);
        b += 32;
        a += 4;
      }
    } while (a < end);
    v128.store(c_p, c00);
    v128.store(c_p, c01, 16);
    v128.store(c1, c10);
    v128.store(c1, c11, 16);
    v128.store(c2, c20);
    v128.store(c2, c21, 16);
    v128.store(c3, c30);
    v128.store(c3, c31, 16);
    if (top_p) {
      v128.store(top_p, f32x4.pmax(f32x4.pmax(v128.load(top_p), c00), c01));
      v128.store(top_p, f32x4.pmax(f32x4.pmax(v128.load(top_p, 16), c10), c11), 16);
      v128.store(top_p, f32x4.pmax(f32x4.pmax(v128.load(top_p, 32), c20), c21), 32);
      v128.store(top_p, f32x4.pmax(f32x4.pmax(v128.load(top_p, 48), c30), c31), 48);
    }
    c_p += 32;
    b_p += ldB;
  } while (--strips);
}

/** Scalar twin: the same sums in the same order, the same bits in the deterministic build. */
export function gemm_f32_4x8_scalar(
  a_p: usize,
  b_p: usize,
  n: i32,
  strips: i32,
  ldB: usize,
  c_p: usize,
  ldC: usize,
  from: usize,
  top_p: usize,
): void {
  if (top_p) clearTops(top_p);
  for (let strip: i32 = 0; strip < strips; strip++) {
    for (let r: usize = 0; r < 4; r++) {
      for (let c: usize = 0; c < 8; c++) {
        const at = c_p + r * ldC + (c << 2);
        let sum = load<f32>(at + from);
        for (let i: usize = 0; i < <usize> n; i++) {
          sum += load<f32>(a_p + (r << 8) + (i << 2)) * load<f32>(b_p + (i << 5) + (c << 2));
        }
        store<f32>(at, sum);
        if (!top_p) continue;
        const top = top_p + (r << 4) + ((c & 3) << 2);
        if (load<f32>(top) < sum) store<f32>(top, sum);
      }
    }
    b_p += ldB;
    c_p += 32;
  }
}
