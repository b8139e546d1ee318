import { madd } from "../math/madd";

/**
 * gemv_f32: y[8·strips] = W·x with W in strips packed [K][8]: one pass over W, in the order it lies in memory.
 *
 * Each y sums over k in ascending order from 0 with one madd a step, as gemm_f32_4x8 does: a token decoded alone and
 * the same token inside a prompt get the same bits. Two strips at a time hide the latency of the additions (4 chains
 * of 3 cycles); 2 flop for each 4 bytes of W, so the speed is that of the memory W comes from.
 */
export function gemv_f32_1x16(x_p: usize, w_p: usize, y_p: usize, depth: i32): void {
  const strip = (<usize> depth) << 5;
  let v_p = w_p + strip;
  let y0 = f32x4.splat(0), y1 = y0, y2 = y0, y3 = y0;
  const end = v_p;
  do {
    const x = v128.load32_splat(x_p);
    y0 = madd(x, v128.load(w_p), y0);
    y1 = madd(x, v128.load(w_p, 16), y1);
    y2 = madd(x, v128.load(v_p), y2);
    y3 = madd(x, v128.load(v_p, 16), y3);
    x_p += 4;
    w_p += 32;
    v_p += 32;
  } while (w_p < end);
  v128.store(y_p, y0);
  v128.store(y_p, y1, 16);
  v128.store(y_p, y2, 32);
  v128.store(y_p, y3, 48);
}

/** The same for one strip. */
export function gemv_f32_1x8(x_p: usize, w_p: usize, y_p: usize, depth: i32): void {
  let y0 = f32x4.splat(0), y1 = y0;
  const end = w_p + ((<usize> depth) << 5);
  do {
    const x = v128.load32_splat(x_p);
    y0 = madd(x, v128.load(w_p), y0);
    y1 = madd(x, v128.load(w_p, 16), y1);
    x_p += 4;
    w_p += 32;
  } while (w_p < end);
  v128.store(y_p, y0);
  v128.store(y_p, y1, 16);
}
