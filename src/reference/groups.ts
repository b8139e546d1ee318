/**
 * Which rows of Q and K share one scale: the granularities of SageAttention 1 and 2.
 *
 *   tensor   all rows of the head
 *   block    blockQ = 128 rows of Q; blockK = 64 rows of K
 *   warp     warpQ = 32 rows of Q; K as block
 *   thread   Q: in each warp the rows that are equal mod 8, four of 32. K: in each block of 64 the rows whose number
 *            mod 8 is 2t or 2t + 1, sixteen. These are the rows that one thread of m16n8k32 holds.
 *   token    one row
 *
 * Rows count from the start of the sequence. Scales are numbered as the CUDA and Triton kernels number them
 * (sageattention/quant.py, triton/quant_per_thread.py), missing rows of the last block included:
 * ⌈N/blockQ⌉·(blockQ/warpQ)·8 and ⌈M/blockK⌉·4 for threads.
 */
import type { Granularity, Recipe } from "../precision.ts";

/** A division of elements into groups with one scale each. */
export interface Groups {
  readonly count: number;
  /** Group of an element. */
  of(row: number, column: number): number;
}

export function groupsOfQ(granularity: Granularity, rows: number, { blockQ, warpQ }: Recipe): Groups {
  if (granularity !== "warp" && granularity !== "thread") return runs(granularity, rows, blockQ);
  // A warp never reaches into the next block.
  const warps = Math.ceil(blockQ / warpQ);
  const warp = (i: number) => Math.floor(i / blockQ) * warps + Math.floor(i % blockQ / warpQ);
  const count = Math.ceil(rows / blockQ) * warps;
  if (granularity === "warp") return { count, of: warp };
  return { count: count * 8, of: (i) => warp(i) * 8 + i % 8 };
}

export function groupsOfK(granularity: Granularity, rows: number, { blockK }: Recipe): Groups {
  const { count, of } = runs(granularity, rows, blockK);
  return granularity === "thread" ? { count: count * 4, of: (j) => of(j) * 4 + (j % 8 >> 1) } : { count, of };
}

/** Rows one after the other: all, so many, or one. */
function runs(
  granularity: Granularity,
  rows: number,
  block: number,
): { count: number; of(row: number): number } {
  const size = granularity === "tensor" ? Math.max(rows, 1) : granularity === "token" ? 1 : block;
  return { count: Math.ceil(rows / size), of: (row) => Math.floor(row / size) };
}

/** Channels of V: one group a channel, or one a channel and tile of so many rows. */
export function groupsOfV(columns: number, rows: number, tile: number): Groups {
  return {
    count: Math.ceil(rows / tile) * columns,
    of: (j, e) => Math.floor(j / tile) * columns + e,
  };
}

/** NVFP4's groups of 16 elements: along the columns of Q and K, along the rows (tokens) of V. */
export function groupsOf16(columns: number, rows: number, along: "columns" | "rows"): Groups {
  if (along === "rows") return groupsOfV(columns, rows, 16);
  const perRow = Math.ceil(columns / 16);
  return { count: rows * perRow, of: (row, column) => row * perRow + (column >> 4) };
}
