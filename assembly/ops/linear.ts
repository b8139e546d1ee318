import { load_bf16, load_f16 } from "../math/half";
import { madd } from "../math/madd";
import { gemv_f32_1x16, gemv_f32_1x8 } from "../tile/gemv_f32_1x8";
import { gemm_f32_4x8, ZEROS } from "../tile/gemm_f32_4x8";
import { pack_k_f32, pack_q_f32, rowQ } from "../tile/pack";

/**
 * linear: Y[rows,out] = X[rows,in]·Wᵀ, the scores without a softmax: W[out,in] is packed like keys, strips of 8 rows
 * [in][8], X like queries. 2·rows·in·out flop.
 *
 * Every y sums over k in ascending order whatever `rows` is, so a row's bits depend on that row and W alone: a token
 * decoded alone and the same token inside a prompt agree.
 *
 * More than one row: X is packed a panel at a time, as many rows as fit half of L2, and each strip of W is read once
 * a panel. One row: W is streamed once.
 */

/** Bytes of a panel of X: half of the 1 MiB L2 of recent server cores, 4 rows at least. */
const PANEL = 524288;
const MOST_ROWS = 128;

/** Rows of X in a panel, a multiple of 4. */
function panel_rows(depth: i32): i32 {
  return max(4, min(MOST_ROWS, PANEL / 4 / max(depth, 1)) & ~3);
}

/** Bytes of scratch that linear_f32 needs: a packed panel of X, and its sums with 64 rows of W, 256 bytes a row. */
export function linear_scratch(rows: i32, depth: i32): i32 {
  return rows == 1 ? 128 : min(panel_rows(depth), (rows + 3) & ~3) * (<i32> rowQ(depth) + 256);
}

/** `x_stride`, `y_stride` are the distances of rows in elements. */
export function linear_f32(
  x_p: usize,
  w_p: usize,
  y_p: usize,
  rows: i32,
  depth: i32,
  width: i32,
  x_stride: i32,
  y_stride: i32,
  scratch_p: usize,
): void {
  if (depth == 0) return zero(y_p, rows, width, y_stride);
  if (rows == 1) return gemv(x_p, w_p, y_p, depth, width, scratch_p);
  const most = panel_rows(depth), sums_p = scratch_p;
  for (let i = 0; i < rows; i += most) {
    const live = min(most, rows - i), strips = (live + 3) & ~3;
    const panel_p = sums_p + ((<usize> strips) << 8);
    pack_q_f32(x_p + (<usize> (i * x_stride) << 2), x_stride, live, depth, panel_p, 1);
    for (let j = 0; j < width; j += 64) {
      const columns = min(64, width - j);
      block(panel_p, w_p + (<usize> (j * depth) << 2), strips, depth, columns, sums_p);
      let to_p = y_p + (<usize> (i * y_stride + j) << 2);
      for (let r = 0; r < live; r++, to_p += (<usize> y_stride) << 2) {
        copy_row(sums_p + ((<usize> r) << 8), to_p, columns);
      }
    }
  }
}

/**
 * A panel of X against up to 64 rows of W: 64 of depth of all strips before the next 64, so that these of W come out of
 * L1. Sums are 256 bytes apart, since those of Y at powers of two would drive each other out of it.
 */
function block(panel_p: usize, k_p: usize, rows: i32, depth: i32, columns: i32, sums_p: usize): void {
  const strip = rowQ(depth) << 2, ldB = (<usize> depth) << 5, strips = (columns + 7) >> 3;
  for (let d: i32 = 0; d < depth; d += 64, panel_p += 1024, k_p += 2048) {
    let q_p = panel_p, to_p = sums_p;
    for (let r: i32 = 0; r < rows; r += 4, q_p += strip, to_p += 1024) {
      gemm_f32_4x8(q_p, k_p, min(depth - d, 64), strips, ldB, to_p, 256, d == 0 ? ZEROS - to_p : 0, 0);
    }
  }
}

function copy_row(from_p: usize, to_p: usize, columns: i32): void {
  let c: i32 = 0;
  for (; c + 4 <= columns; c += 4, from_p += 16, to_p += 16) v128.store(to_p, v128.load(from_p));
  for (; c < columns; c++, from_p += 4, to_p += 4) store<f32>(to_p, load<f32>(from_p));
}

function gemv(x_p: usize, w_p: usize, y_p: usize, depth: i32, width: i32, scratch_p: usize): void {
  const strip = (<usize> depth) << 5;
  for (; width >= 16; width -= 16) {
    gemv_f32_1x16(x_p, w_p, y_p, depth);
    w_p += strip << 1;
    y_p += 64;
  }
  for (; width > 0; width -= 8) {
    if (width >= 8) gemv_f32_1x8(x_p, w_p, y_p, depth);
    else {
      gemv_f32_1x8(x_p, w_p, scratch_p, depth);
      copy_row(scratch_p, y_p, width);
    }
    w_p += strip;
    y_p += 32;
  }
}

function zero(y_p: usize, rows: i32, width: i32, stride: i32): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < width; j++) store<f32>(y_p + (<usize> (i * stride + j) << 2), 0);
  }
}

/** W[out,in] → strips; `dtype` 0 float32, 1 float16, 2 bfloat16, decoded exactly. Rows that pad a strip are 0. */
export function pack_weights(w_p: usize, packed_p: usize, width: i32, depth: i32, dtype: i32): void {
  if (dtype == 0) return pack_k_f32(w_p, depth, width, depth, packed_p);
  for (let j = 0; j < width; j += 8) {
    for (let k = 0; k < depth; k++) {
      for (let c = 0; c < 8; c++) {
        const from = w_p + (<usize> ((j + c) * depth + k) << 1);
        const w = j + c >= width ? <f32> 0 : dtype == 1 ? load_f16(from) : load_bf16(from);
        store<f32>(packed_p, w);
        packed_p += 4;
      }
    }
  }
}

/** linear_f32 in scalars and one obvious loop: the same bits in the deterministic build. */
export function linear_f32_scalar(
  x_p: usize,
  w_p: usize,
  y_p: usize,
  rows: i32,
  depth: i32,
  width: i32,
  x_stride: i32,
  y_stride: i32,
  _scratch_p: usize,
): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < width; j++) {
      let sum = f32x4.splat(0);
      for (let k = 0; k < depth; k++) {
        const x = load<f32>(x_p + (<usize> (i * x_stride + k) << 2));
        const w = load<f32>(w_p + (<usize> ((j & ~7) * depth + (k << 3) + (j & 7)) << 2));
        sum = madd(f32x4.splat(x), f32x4.splat(w), sum);
      }
      store<f32>(y_p + (<usize> (i * y_stride + j) << 2), f32x4.extract_lane(sum, 0));
    }
  }
}
