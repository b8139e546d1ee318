/**
 * What assembly/full.ts exports, of which assembly/index.ts has what attention needs. Pointers are byte addresses, counts
 * are elements.
 */
export interface KernelExports extends TileExports, IntegerExports, ModelExports, DecodeExports {
  relaxed(): number;
  /** 96·steps flops on registers; the result means nothing. */
  canary(steps: number, a: number, b: number): number;
  /** A chunk of rows against a panel of keys; the task is described in assembly/ops/task.ts. */
  forward_f32(task_p: number): void;
  /** The same on codes: assembly/ops/quantised.ts. */
  forward_i16(task_p: number): void;
  /** States of a chunk → out and lse. */
  finish_f32(task_p: number): void;
  /** Packing, forward and finish of the heads of a batch; returns the bits of V's largest. */
  heads_f32(
    task_p: number,
    heads: number,
    q_p: number,
    k_p: number,
    v_p: number,
    k_head: number,
    v_head: number,
    mul: number,
  ): number;
  /** After that, or without states: weights or scores of a chunk × panel, rows `ld` bytes apart. */
  weights_f32(task_p: number, dst_p: number, ld: number, exponents: number): void;
}

/** Tile kernels and packing: assembly/tile, assembly/math. */
export interface TileExports {
  exp2_f32(src_p: number, dst_p: number, n: number): void;
  exp2_f32_scalar(src_p: number, dst_p: number, n: number): void;
  tanh_f32(src_p: number, dst_p: number, n: number): void;
  convert_f16_f32(src_p: number, dst_p: number, n: number): void;
  convert_bf16_f32(src_p: number, dst_p: number, n: number): void;
  max_bits_f32(src_p: number, ld: number, rows: number, E: number): number;
  pack_q_f32(src_p: number, ld: number, rows: number, D: number, dst_p: number, mul: number): void;
  pack_k_f32(src_p: number, ld: number, rows: number, D: number, dst_p: number): void;
  pack_v_f32(
    src_p: number,
    ld: number,
    rows: number,
    E: number,
    dst_p: number,
    row0: number,
    mul: number,
  ): number;
  gemm_f32_4x8: GemmTile;
  gemm_f32_4x8_scalar: GemmTile;
  drop_f32_64: DropTile;
  drop_f32_64_scalar: DropTile;
  softmax_f32_4x64: SoftmaxTile;
  softmax_f32_4x64_scalar: SoftmaxTile;
}

/** Codes in 16-bit lanes: assembly/tile/quantise.ts and the *_i16_* tiles. */
export interface IntegerExports {
  column_sums_f32(
    src_p: number,
    ld: number,
    rows: number,
    columns: number,
    seen_p: number,
    sums_p: number,
  ): number;
  dot_rows_f32(
    src_p: number,
    ld: number,
    rows: number,
    D: number,
    w_p: number,
    dst_p: number,
    mul: number,
  ): void;
  pack_rows_i16(
    src_p: number,
    ld: number,
    rows: number,
    D: number,
    dst_p: number,
    width: number,
    mean_p: number,
    seen_p: number,
    unit_p: number,
    limit: number,
    mul: number,
  ): void;
  pack_v_i16(
    src_p: number,
    ld: number,
    rows: number,
    E: number,
    dst_p: number,
    mean_p: number,
    seen_p: number,
    unit_p: number,
    limit: number,
  ): void;
  /** Relaxed build only, like the tiles of bytes: elsewhere they do nothing. */
  narrow_i8(
    src: number,
    dst: number,
    count: number,
    w: number,
    offset: number,
    sum_p: number,
    quads: number,
  ): void;
  qk_i8_4x16(
    q_p: number,
    k_p: number,
    quads: number,
    strips: number,
    unit_p: number,
    sum_p: number,
    s_p: number,
  ): void;
  pv_i8_4x16: PvCodes;
  pack_i4: Nibbles;
  unpack_i4: Nibbles;
  unpack_i4_scalar: Nibbles;
  qk_i4_4x32: QkCodes;
  qk_i4_4x32_scalar: QkCodes;
  column_max_f32(
    src_p: number,
    ld: number,
    rows: number,
    columns: number,
    mean_p: number,
    seen_p: number,
    top_p: number,
  ): void;
  pack_v_e4m3(
    src_p: number,
    ld: number,
    rows: number,
    E: number,
    dst_p: number,
    mean_p: number,
    seen_p: number,
    unit_p: number,
    step: number,
  ): void;
  unpack_v_e4m3: UnpackValues;
  unpack_v_e4m3_scalar: UnpackValues;
  exp2_table(dst_p: number, factor: number, shift: number): void;
  qk_i16_4x16: QkCodes;
  qk_i16_4x16_scalar: QkCodes;
  softmax_i16_4x64: SoftmaxCodes;
  softmax_i16_4x64_scalar: SoftmaxCodes;
  pv_i16_4x16: PvCodes;
  pv_i16_4x16_scalar: PvCodes;
}

/** i16 codes of K → nibbles, nibbles → two codes a lane; strips of 32 keys. */
export type Nibbles = (src_p: number, dst_p: number, pairs: number, strips: number) => void;

/** A tile of 64 keys, E4M3 → float32; a unit a column. */
export type UnpackValues = (src_p: number, dst_p: number, strips: number, unit_p: number) => void;

/** S[4, 16·strips] = codes·codes·unit of the key; rows of S are 256 bytes apart. */
export type QkCodes = (
  q_p: number,
  k_p: number,
  pairs: number,
  strips: number,
  unit_p: number,
  s_p: number,
) => void;

/** S → codes of P in place, states updated; c_p, m_p, l_p, w_p: 4 floats. */
export type SoftmaxCodes = (
  s_p: number,
  from: number,
  to: number,
  c_p: number,
  m_p: number,
  l_p: number,
  o_p: number,
  strips: number,
  table_p: number,
  w_p: number,
) => void;

/** O[4, 8·strips] += codes·codes·unit of the column·w; strips even, ldO in bytes. */
export type PvCodes = (
  p_p: number,
  v_p: number,
  pairs: number,
  strips: number,
  unit_p: number,
  w_p: number,
  o_p: number,
  ldO: number,
) => void;

/** C[4, 8·strips] = A·B + what lies `from` behind C; rows of A are 256 bytes apart, ldB and ldC in bytes, top_p may be 0. */
export type GemmTile = (
  a_p: number,
  b_p: number,
  n: number,
  strips: number,
  ldB: number,
  c_p: number,
  ldC: number,
  from: number,
  top_p: number,
) => void;

/** What a Llama-style model needs round its attention: assembly/ops. Strides are in elements. */
export interface ModelExports {
  pack_weights(w_p: number, packed_p: number, width: number, depth: number, dtype: number): void;
  linear_scratch(rows: number, depth: number): number;
  linear_f32: LinearKernel;
  linear_f32_scalar: LinearKernel;
  rmsnorm_f32: RmsNormKernel;
  rmsnorm_f32_scalar: RmsNormKernel;
  rotary_f32: RotaryKernel;
  rotary_f32_scalar: RotaryKernel;
  softmax_f32: SoftmaxKernel;
  softmax_f32_scalar: SoftmaxKernel;
  silu_f32: PairKernel;
  silu_f32_scalar: PairKernel;
  add_f32: PairKernel;
  add_f32_scalar: PairKernel;
}

/** Y[rows,width] = X[rows,depth]·Wᵀ, W packed. */
export type LinearKernel = (
  x_p: number,
  w_p: number,
  y_p: number,
  rows: number,
  depth: number,
  width: number,
  xStride: number,
  yStride: number,
  scratch_p: number,
) => void;

export type RmsNormKernel = (
  x_p: number,
  w_p: number,
  y_p: number,
  rows: number,
  dim: number,
  eps: number,
) => void;

export type RotaryKernel = (
  x_p: number,
  y_p: number,
  cos_p: number,
  sin_p: number,
  positions_p: number,
  tokens: number,
  heads: number,
  width: number,
  dims: number,
  xToken: number,
  xHead: number,
  yToken: number,
  yHead: number,
  interleaved: number,
) => void;

/** Groups of four slices of n elements, [n][4], in place. */
export type SoftmaxKernel = (x_p: number, groups: number, n: number, log: number) => void;

/** y[i] = f(a[i], b[i]). */
export type PairKernel = (a_p: number, b_p: number, y_p: number, count: number) => void;

/** S → P in place for keys from ≤ j < to, states m, l, O updated; rows of S are 256 bytes apart. top_p: 336 bytes. */
export type SoftmaxTile = (
  s_p: number,
  from: number,
  to: number,
  c: number,
  m_p: number,
  l_p: number,
  o_p: number,
  strips: number,
  top_p: number,
) => void;

/** Dropout of keys from ≤ j < to of a row of P, the tile's first being j0. */
export type DropTile = (
  s_p: number,
  j0: number,
  from: number,
  to: number,
  k0: number,
  k1: number,
  threshold: number,
) => void;

/** Few queries against a cache where it lies: assembly/ops/decode.ts. ldk, ldv, ldO are in bytes, ld_ in elements. */
export interface DecodeExports {
  decode_scratch(): number;
  decode_f32(task_p: number, ld_k: number, ld_v: number, dtype: number): void;
  decode_f32_scalar(task_p: number, ld_k: number, ld_v: number, dtype: number): void;
  merge_state_f32(task_p: number, m_p: number, l_p: number, o_p: number): void;
  scatter_rows_f32(
    src_p: number,
    dst_p: number,
    heads: number,
    n: number,
    head: number,
    token: number,
    width: number,
  ): void;
  pack_q_rows_f32(
    src_p: number,
    dst_p: number,
    heads: number,
    n: number,
    head: number,
    token: number,
    D: number,
    mul: number,
  ): void;
  qk_f32_rows: QkRows;
  qk_f32_rows_scalar: QkRows;
  pv_f32_rows: PvRows;
  pv_f32_rows_scalar: PvRows;
}

/** S[rows,keys] = Q·Kᵀ for 4, 2 or 1 rows; `more`: rows behind the last key that may be touched. */
export type QkRows = (
  rows: number,
  q_p: number,
  k_p: number,
  ldk: number,
  D: number,
  keys: number,
  s_p: number,
  more: number,
) => number;

/** O[rows,E] += P·V. */
export type PvRows = (
  rows: number,
  p_p: number,
  v_p: number,
  ldv: number,
  keys: number,
  E: number,
  o_p: number,
  ldO: number,
  more: number,
) => number;
