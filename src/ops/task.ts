/**
 * The record of assembly/ops/task.ts, written from here: which 4-byte word each field is. Named one by one and nowhere
 * else, so that the build leaves numbers of it.
 */
export const INDEX = {
  q_p: 0,
  k_p: 1,
  v_p: 2,
  poison_p: 3,
  bounds_p: 4,
  m_p: 5,
  l_p: 6,
  o_p: 7,
  scratch_p: 8,
  rows: 9,
  D: 10,
  strips: 11,
  key0: 12,
  keys: 13,
  flags: 14,
  c: 15,
  scale: 16,
  softcap: 17,
  slope_p: 18,
  bias_p: 19,
  bias_step: 20,
  mask_p: 21,
  mask_step: 22,
  E: 23,
  out_p: 24,
  lse_p: 25,
  sink_p: 26,
  unscale: 27,
  br: 28,
  blocks_p: 29,
  blocks_ld: 30,
  drop_p: 31,
  threshold: 32,
  keep: 33,
  visited: 34,
  masked: 35,
  k_unit_p: 36,
  v_unit_p: 37,
  unit_p: 38,
  shift_p: 39,
  c_p: 40,
  mean_p: 41,
  top: 42,
  table_p: 43,
  q_sum_p: 44,
  k_tile_p: 45,
  v_tile_p: 46,
  k_tile: 47,
  v_tile: 48,
  v_unit_step: 49,
} as const;
export const TASK_BYTES = 200;

/** Bits of Task.flags. */
export const FIRST = 1;
export const SCALAR = 2;
export const SCORES = 4;
export const RELATIVE = 8;
export const CAP_LAST = 16;
export const SLOPED_BIAS = 32;
export const SINK_IN_LSE = 64;
export const QUANTISED = 128;
export const BYTES_QK = 256;
export const BYTES_PV = 512;
export const PLAIN_PV = 1024;
export const TILE_K = 2048;
export const TILE_V = 4096;
