/**
 * The fused forward on integers: forward.ts with both products on 16-bit codes (src/precision.ts, "int12" and others).
 *
 *   S = Q̂K̂ᵀ·(unit of the key)          exact in int32, one rounding to float32, one for the unit
 *   P = round(top·2^((S − m_tile)·c))   c holds the unit of the row, so that scores are never scaled one by one
 *   O ← O·α + (P̂V̂)·(unit of the column in this tile)·2^((m_tile − m)·c)
 *
 * Blocks, masks, scores, states and results are the float32 path's. Codes of Q, K and V are half as large as floats, a
 * product takes half the instructions: 4·D flop-equivalents a score at twice the rate, and what a softmax costs.
 *
 * The row's constant scale·q·k̄ that smoothing took away enters the scores only where it can be seen (SCORES), and lse.
 */
import { pv_i16_4x16, pv_i16_4x16_scalar } from "../tile/pv_i16_4x16";
import { qk_i16_4x16, qk_i16_4x16_scalar } from "../tile/qk_i16_4x16";
import { unpack_v_e4m3, unpack_v_e4m3_scalar } from "../tile/e4m3";
import { unpack_i4, unpack_i4_scalar } from "../tile/nibbles";
import { qk_i4_4x32, qk_i4_4x32_scalar } from "../tile/qk_i4_4x32";
import { softmax_i16_4x64, softmax_i16_4x64_scalar } from "../tile/softmax_i16_4x64";
import { narrowRows, pv_i8_4x16, qk_i8_4x16 } from "../tile/i8_4x16";
import { forward_f32, Strip } from "./forward";
import { BYTES_PV, BYTES_QK, NATURAL, QUANTISED, Task, TILE_K, twins } from "./task";

/** Scratch: four floats behind S, where the float32 path has flags. */
const WEIGHTS: usize = 1024;

export function forward_i16(t: Task): void {
  t.flags |= QUANTISED;
  forward_f32(t);
}

/** S of four rows and the keys from ≤ j < to of a tile, in units of the row of Q; in natural ones with NATURAL. */
export function scores_i16(t: Task, row: i32, j0: i32, s: Strip): void {
  const from = s.from, to = s.to;
  const pairs = (t.D + 1) >> 1, strips = (to - from) >> 4;
  const key = <usize> (j0 - t.key0 + from);
  const unit_p = t.k_unit_p + (key << 2);
  const s_p = t.scratch_p + ((<usize> from) << 2);
  if (ASC_FEATURE_RELAXED_SIMD && (t.flags & BYTES_QK) != 0) {
    const D = <usize> t.D, sum_p = t.q_sum_p + ((<usize> row) << 2);
    qk_i8_4x16(t.q_p + (<usize> row) * D, t.k_p + key * D, pairs >> 1, strips, unit_p, sum_p, s_p);
    if (t.flags & NATURAL) restore(t, row, from, to);
    return;
  }
  const q_p = t.q_p + (<usize> row) * ((<usize> pairs) << 2);
  if (t.flags & TILE_K) {
    openKeys(t, j0, pairs);
    // Whole strips of 32 keys; what is beside from … to is looked at by nobody.
    const skip = <usize> from & 32;
    const k_p = t.k_tile_p + skip * (<usize> pairs << 1);
    const first_p = unit_p - ((<usize> from - skip) << 2), to_p = t.scratch_p + (skip << 2);
    const count = (to - <i32> skip + 31) >> 5;
    if (twins(t)) qk_i4_4x32_scalar(q_p, k_p, pairs, count, first_p, to_p);
    else qk_i4_4x32(q_p, k_p, pairs, count, first_p, to_p);
    if (t.flags & NATURAL) restore(t, row, from, to);
    return;
  }
  const k_p = t.k_p + key * ((<usize> pairs) << 2);
  if (twins(t)) qk_i16_4x16_scalar(q_p, k_p, pairs, strips, unit_p, s_p);
  else qk_i16_4x16(q_p, k_p, pairs, strips, unit_p, s_p);
  if (t.flags & NATURAL) restore(t, row, from, to);
}

/** Nibbles of a tile → lanes, unless that tile is the last that was. */
function openKeys(t: Task, j0: i32, pairs: i32): void {
  if (t.k_tile == j0) return;
  t.k_tile = j0;
  const src_p = t.k_p + <usize> (j0 - t.key0) * <usize> pairs;
  if (twins(t)) unpack_i4_scalar(src_p, t.k_tile_p, pairs, 2);
  else unpack_i4(src_p, t.k_tile_p, pairs, 2);
}

/** The tile of V from E4M3, likewise. */
export function openValues(t: Task, j0: i32): usize {
  if (t.v_tile == j0) return t.v_tile_p;
  t.v_tile = j0;
  const tile = <usize> (j0 - t.key0) >> 6;
  const src_p = t.v_p + ((tile * <usize> t.strips) << 9), unit_p = t.v_unit_p + tile * t.v_unit_step;
  if (twins(t)) unpack_v_e4m3_scalar(src_p, t.v_tile_p, t.strips, unit_p);
  else unpack_v_e4m3(src_p, t.v_tile_p, t.strips, unit_p);
  return t.v_tile_p;
}

/** Softmax and values of four rows against one tile. */
export function values_i16(t: Task, row: i32, j0: i32, s: Strip): void {
  const strips = t.strips, scratch = t.scratch_p;
  const from = s.from, to = s.to;
  const state = (<usize> row) << 2;
  const ldO = (<usize> strips) << 5;
  const o_p = t.o_p + (<usize> row) * ldO;
  const tile = (<usize> (j0 - t.key0) >> 6) * <usize> strips;
  const v_p = t.v_p + (tile << 10) + ((<usize> from) << 4);
  const unit_p = t.v_unit_p + (tile << 5);
  // P is 0 from s.hi on for all rows: an odd last key has the code 0 beside it, whatever V has there.
  const pairs = (min(s.hi - j0, to) - from + 1) >> 1;
  const p_p = scratch + ((<usize> from) << 1);
  const c_p = t.c_p + state, m_p = t.m_p + state, l_p = t.l_p + state, w_p = scratch + WEIGHTS;
  if (twins(t)) {
    softmax_i16_4x64_scalar(scratch, from, to, c_p, m_p, l_p, o_p, strips, t.table_p, w_p);
    pv_i16_4x16_scalar(p_p, v_p, pairs, strips, unit_p, w_p, o_p, ldO);
  } else {
    softmax_i16_4x64(scratch, from, to, c_p, m_p, l_p, o_p, strips, t.table_p, w_p);
    if (ASC_FEATURE_RELAXED_SIMD && (t.flags & BYTES_PV) != 0) {
      narrowRows(scratch, from, to);
      const bytes_p = t.v_p + (tile << 9) + ((<usize> from) << 3);
      pv_i8_4x16(scratch + <usize> from, bytes_p, ((pairs + 3) >> 2) << 1, strips, unit_p, w_p, o_p, ldO);
      return;
    }
    pv_i16_4x16(p_p, v_p, pairs, strips, unit_p, w_p, o_p, ldO);
  }
}

/** S of four rows → scale·q·k in natural units. */
function restore(t: Task, row: i32, from: i32, to: i32): void {
  for (let r: usize = 0; r < 4; r++) {
    const at = ((<usize> row) + r) << 2;
    const unit = f32x4.splat(load<f32>(t.unit_p + at)), shift = f32x4.splat(load<f32>(t.shift_p + at));
    const end = t.scratch_p + (r << 8) + ((<usize> to) << 2);
    for (let s = t.scratch_p + (r << 8) + ((<usize> from) << 2); s < end; s += 16) {
      v128.store(s, f32x4.add(f32x4.mul(v128.load(s), unit), shift));
    }
  }
}

/** o += mean·(sum of the weights): what smoothing took from V. */
export function addMean(o_p: usize, mean_p: usize, strips: usize, weights: f32): void {
  const w = f32x4.splat(weights);
  for (const end = o_p + (strips << 5); o_p < end; o_p += 16, mean_p += 16) {
    v128.store(o_p, f32x4.add(v128.load(o_p), f32x4.mul(v128.load(mean_p), w)));
  }
}
