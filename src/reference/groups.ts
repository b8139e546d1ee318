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
  return groupsOfRows(granularity, rows, blockQ, warpQ, 8);
}

export function groupsOfK(granularity: Granularity, rows: number, { blockK }: Recipe): Groups {
  return groupsOfRows(granularity, rows, blockK, blockK, 4);
}

/**
 * Blocks of rows, warps in each, which never reach into the next block, and threads, to which the rows of a warp are
 * dealt out by their number mod 8: one residue each, or two.
 */
function groupsOfRows(
  granularity: Granularity,
  rows: number,
  blockRows: number,
  warpRows: number,
  threads: number,
): Groups {
  const all = Math.max(rows, 1);
  const [block, warp, parts] = {
    tensor: [all, all, 1],
    block: [blockRows, blockRows, 1],
    warp: [blockRows, warpRows, 1],
    thread: [blockRows, warpRows, threads],
    token: [1, 1, 1],
  }[granularity];
  const warps = Math.ceil(block / warp);
  return {
    count: Math.ceil(rows / block) * warps * parts,
    of: (row) =>
      (Math.floor(row / block) * warps + Math.floor(row % block / warp)) * parts + (row % 8 * parts >> 3),
  };
}

/** Tiles of so many rows and columns, row by row of tiles: channels of V, and NVFP4's groups of 16 elements. */
export function groupsOfTiles(rows: number, columns: number, height: number, width: number): Groups {
  const across = Math.ceil(columns / width);
  return {
    count: Math.ceil(rows / height) * across,
    of: (row, column) => Math.floor(row / height) * across + Math.floor(column / width),
  };
}
