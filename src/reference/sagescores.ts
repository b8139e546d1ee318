/**
 * S = QKᵀ of a quantised pipeline:
 *
 *   ⟨q_i, k_j⟩ ≈ q̂′_i·k̂′_j + q̄·k′_j + q_i·k̄        codes·scale, ΔS, and what smoothing took from K
 *
 * The first product is a sum of integers, exact, times a scale of Q and one of K; the other two are not quantised.
 * A row with NaN or ∞ is in no mean and no scale, and its scores are those of the row as it is.
 */
import { integerLimit } from "../limits.ts";
import type { Recipe } from "../precision.ts";
import { dot } from "./dot.ts";
import { type Groups, groupsOfK, groupsOfQ, groupsOfTiles } from "./groups.ts";
import type { Head } from "./heads.ts";
import { type Grid, integers, nvfp4, quantise, type Quantised } from "./quantise.ts";
import { smoothRows } from "./smooth.ts";

/** A quantised matrix [rows,D] with its smoothing undone beside it. */
export interface Operand extends Quantised {
  /** What was quantised: the matrix less its means. */
  readonly smooth: Float64Array;
  /** [blocks,D], one for each `block` rows; null without smoothing. */
  readonly mean: Float64Array | null;
  readonly block: number;
  /** 1 where the row is finite (and seen), so that its codes hold. */
  readonly finite: Uint8Array;
  readonly grid: Grid;
}

/** K of a key/value head; `seen` tells which keys count. */
export function quantiseKeys(
  K: Float64Array,
  M: number,
  D: number,
  seen: Uint8Array,
  recipe: Recipe,
): Operand {
  const groups = groupsOfK(recipe.granularity.k, M, recipe);
  return operand(K, M, D, recipe, groups, recipe.smoothK ? M : 0, seen);
}

/** Q of a query head. */
export function quantiseQueries({ Q, N, problem }: Head, recipe: Recipe): Operand {
  const { smoothQ, blockQ } = recipe;
  const groups = groupsOfQ(recipe.granularity.q, N, recipe);
  const block = smoothQ === "block" ? blockQ : smoothQ ? N : 0;
  return operand(Q, N, problem.D, recipe, groups, block, new Uint8Array(N).fill(1));
}

/** Of each `block` rows, if it isn't 0, the mean is taken out. */
function operand(
  x: Float64Array,
  rows: number,
  D: number,
  { qk, rounding }: Recipe,
  groups: Groups,
  block: number,
  seen: Uint8Array,
): Operand {
  const smooth = x.slice(0, rows * D).map(Math.fround);
  const finite = seen.map((yes, row) => smooth.subarray(row * D, (row + 1) * D).every(Number.isFinite) ? yes : 0);
  const counts = (row: number) => finite[row] === 1;
  let mean: Float64Array | null = null;
  if (block > 0) {
    mean = new Float64Array(Math.ceil(rows / block) * D);
    for (let first = 0; first < rows; first += block) {
      const last = Math.min(first + block, rows);
      mean.set(smoothRows(smooth, D, first, last, counts), first / block * D);
    }
  }
  const grid = qk === "fp4"
    ? nvfp4
    : integers(integerLimit(qk as Parameters<typeof integerLimit>[0], D), rounding);
  const codes = quantise(smooth, D, grid, qk === "fp4" ? groupsOfTiles(rows, D, 1, 16) : groups, counts);
  return { ...codes, smooth, mean, block, finite, grid };
}

/** (i, j) → ⟨q_i, k_j⟩ as the pipeline computes it. */
export function quantisedProduct(
  { Q, K, N, problem }: Head,
  q: Operand,
  k: Operand,
  { qk }: Recipe,
): (i: number, j: number) => number {
  const { D } = problem;
  const integral = qk !== "fp4";
  // NVFP4 has a scale every 16 elements: the numbers themselves, then.
  const left = integral ? q.codes : numbers(q, D);
  const right = integral ? k.codes : numbers(k, D);
  const fromK = k.mean && Float64Array.from({ length: N }, (_, i) => dot(Q, i * D, k.mean!, 0, D));
  return (i, j) => {
    if (!(q.finite[i] && k.finite[j])) return dot(Q, i * D, K, j * D, D);
    let s = dot(left, i * D, right, j * D, D);
    if (integral) s *= q.scaleAt(i, 0) * k.scaleAt(j, 0);
    if (q.mean) s += dot(q.mean, Math.floor(i / q.block) * D, k.smooth, j * D, D);
    if (fromK) s += fromK[i];
    return s;
  };
}

/** code·scale, all of them. */
export function numbers({ codes, scaleAt }: Quantised, columns: number): Float64Array {
  return codes.map((code, at) => code * scaleAt(Math.floor(at / columns), at % columns));
}
