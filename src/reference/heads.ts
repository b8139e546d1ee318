/**
 * A problem taken apart: for each batch b and query head h, its matrices as dense float64.
 *
 *   Q [N,D]   K [M,D]   V [M,E]     with N, M the lengths of this sequence
 *
 * Whatever the layout, strides, overlap or 16-bit format of the inputs, behind this file there are row-major
 * doubles. Each element is converted once per head: (N·D + M·(D + E)/group) reads of H heads.
 */
import type { Problem } from "../problem.ts";
import { elementReader, toFloat64, type View } from "../tensor.ts";

/** One attention problem of matrices. */
export interface Head {
  readonly problem: Problem;
  readonly b: number;
  readonly h: number;
  /** Queries and keys of this sequence. */
  readonly N: number;
  readonly M: number;
  readonly Q: Float64Array;
  readonly K: Float64Array;
  readonly V: Float64Array;
  /** Rows of K and V as stored: more than M if the key length cuts some off. */
  readonly stored: number;
  /** bias(i, j) and mask(i, j) of this head, or null. */
  readonly bias: ((i: number, j: number) => number) | null;
  readonly mask: ((i: number, j: number) => number) | null;
  /** In place of ⟨q_i, k_j⟩. */
  readonly product?: (i: number, j: number) => number;
}

/** All (b, h). */
export function* heads(problem: Problem): Generator<Head> {
  for (const group of headGroups(problem)) yield* group;
}

/** The query heads that share a key/value head, together: one K, one V, and Q of them all. */
export function* headGroups(problem: Problem): Generator<Head[]> {
  const { B, G, group, layout, blocks, queryStart, keyStart, queryLength, keyLength } = problem;
  for (let b = 0; b < B; b++) {
    const N = queryLength[b];
    const M = keyLength[b];
    const stored = layout === "thd" ? M : problem.M;
    for (let g = 0; g < G; g++) {
      const K = matrix(problem.k, b, g, keyStart[b], stored);
      const V = matrix(problem.v, b, g, keyStart[b], stored);
      yield Array.from({ length: group }, (_, x) => {
        const h = g * group + x;
        const Q = matrix(problem.q, b, h, queryStart[b], N);
        const bias = problem.bias && plane(problem.bias, b, h);
        const mask = problem.mask
          ? plane(problem.mask, b, h)
          : blocks && ((i: number, j: number) => Number(blocks.sees(b, h, i, j)));
        return { problem, b, h, N, M, Q, K, V, stored, bias, mask };
      });
    }
  }
}

/** Rows start … start + rows of head h of batch b, row-major. */
export function matrix(source: View, b: number, h: number, start: number, rows: number): Float64Array {
  const [batch, head, row, column] = source.strides;
  return toFloat64({
    ...source,
    shape: [rows, source.shape[3]],
    strides: [row, column],
    offset: source.offset + b * batch + h * head + start * row,
  });
}

function plane(source: View, b: number, h: number): (i: number, j: number) => number {
  const [batch, head, row, column] = source.strides;
  const read = elementReader(source);
  const base = source.offset + b * batch + h * head;
  return (i, j) => read(base + i * row + j * column);
}
