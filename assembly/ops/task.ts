/**
 * One call of forward_f32: a chunk of packed query rows against a panel of packed keys. The record lies in linear
 * memory; src/ops/task.ts numbers its words in this order, 4 bytes each. Pointers end in _p and are in bytes.
 *
 * Rows are (head, query) pairs of one key/value head: what belongs to a head arrives per row. Arrays "per row" have
 * `rows` entries rounded up to 4, those that pad repeat the last row.
 */
@unmanaged
export class Task {
  /** Packed by pack_q_f32, pack_k_f32, pack_v_f32. */
  q_p: usize;
  k_p: usize;
  v_p: usize;
  /** Per tile of 64 keys: 1 if V holds ∞ or NaN there; or 0. */
  poison_p: usize;
  /** Per row 4 × i32: keys lo ≤ j < hi and j < min(sink, hi) are allowed; pos is the row's place on the key axis. */
  bounds_p: usize;
  /** Per row: running maximum, running sum, output un-normalised (rows of 8·strips floats). */
  m_p: usize;
  l_p: usize;
  o_p: usize;
  /** SCRATCH bytes for S and per-strip bounds. */
  scratch_p: usize;
  rows: i32;
  /** Width of Q and K; width of V in strips of 8 columns. */
  D: i32;
  strips: i32;
  /** The panel's first key, a multiple of 64, and how many keys it has. */
  key0: i32;
  keys: i32;
  flags: i32;
  /** exp(x) = 2^(c·S): log2(e)·scale, or log2(e) if the scores pass (flag SCORES) leaves natural units. */
  c: f32;
  scale: f32;
  softcap: f32;
  /** Per row float32, or 0. */
  slope_p: usize;
  /** Bias of the panel's keys: per row the address of key0's element, and the step between keys in elements (0, 1). */
  bias_p: usize;
  bias_step: i32;
  /** Boolean mask, one byte a key, likewise. */
  mask_p: usize;
  mask_step: i32;
  /** For finish_f32: width of the result, where it goes, per row lse, per row sink logits (or 0), 1/scale of V. */
  E: i32;
  out_p: usize;
  lse_p: usize;
  sink_p: usize;
  unscale: f32;
  /** Rows that share a K and a V tile in L1: a multiple of 4 up to 256. Changes no bits. */
  br: i32;
  /** Block mask: per row one bit a key of the panel, rows blocks_ld words of 64 bits apart, or 0. */
  blocks_p: usize;
  blocks_ld: i32;
  /** Dropout: per row the two words of src/dropout.ts, or 0; an entry of P is kept iff its draw ≥ threshold. */
  drop_p: usize;
  threshold: u32;
  /** 1/(1 − p), which `unscale` has as a factor too; 1 without dropout. */
  keep: f32;
  /** Strips (4 rows × 64 keys) that were computed since JavaScript set this to 0; those of them that were masked. */
  visited: i32;
  masked: i32;
  /** With QUANTISED, when q_p, k_p, v_p are codes (tile/quantise.ts). Units: of the panel's keys, one float32 each. */
  k_unit_p: usize;
  /** Of V's columns, 8·strips a tile of the panel. */
  v_unit_p: usize;
  /** Per row: scale·(unit of the row of Q); scale·q·k̄, what smoothing took from its scores; what stands for c. */
  unit_p: usize;
  shift_p: usize;
  c_p: usize;
  /** Means of the columns of V, 8·strips floats; or 0. */
  mean_p: usize;
  /** The code of P = 1, and exp2_table of it. */
  top: f32;
  table_p: usize;
  /** With BYTES_QK, per row: −64·(sum of its codes), int32. */
  q_sum_p: usize;
  /** With TILE_K, TILE_V: room for one tile of 64 keys unpacked, and the first key of the one that is there, or −1. */
  k_tile_p: usize;
  v_tile_p: usize;
  k_tile: i32;
  v_tile: i32;
  /** With TILE_V: bytes from the units of a tile to those of the next, or 0. */
  v_unit_step: usize;
}

/** Row states start here: m = −∞, l = 0, O = 0. */
export const FIRST: i32 = 1;
/** Run on the scalar twins, where the build has them. */
export const SCALAR: i32 = 2;
/** Scale, softcap, ALiBi and bias are applied to the scores before the softmax. */
export const SCORES: i32 = 4;
/** ALiBi is slope·(j − pos) instead of −slope·|pos − j|. */
export const RELATIVE: i32 = 8;
/** Softcap comes after ALiBi. */
export const CAP_LAST: i32 = 16;
/** The slope multiplies the bias. */
export const SLOPED_BIAS: i32 = 32;
/** lse counts the sink. */
export const SINK_IN_LSE: i32 = 64;
/** Q, K, P and V are codes. */
export const QUANTISED: i32 = 128;
/** Q and K, P and V are 7-bit codes in bytes (tile/i8_4x16.ts). */
export const BYTES_QK: i32 = 256;
export const BYTES_PV: i32 = 512;
/** P and V are float32, whatever Q and K are: scores are in natural units, c is log2(e) and `top` 1. */
export const PLAIN_PV: i32 = 1024;
/** K is nibbles (tile/nibbles.ts); V is E4M3 (tile/e4m3.ts), P float32. */
export const TILE_K: i32 = 2048;
export const TILE_V: i32 = 4096;
/** Scores in natural units. */
export const NATURAL: i32 = SCORES | PLAIN_PV;

/** False, and nothing is left of the twins, where the build doesn't define TWINS (tools/kernels.js). */
export function twins(t: Task): bool {
  return isDefined(TWINS) ? (t.flags & SCALAR) != 0 : false;
}
