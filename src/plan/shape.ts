/** A Problem as the planner sees it. */
import { OPEN, type Problem } from "../problem.ts";
import type { Shape } from "./cost.ts";

/** Bytes that lie ready for each pair of a row and a key: 4 for a bias, 1 for a mask, one bit for a block mask. */
export function stagedBytes({ bias, mask, blocks }: Problem): number {
  return (bias ? 4 : 0) + (mask ? 1 : 0) + (blocks ? 1 / 8 : 0);
}

/** The longest sequence of a ragged batch, the widest window of the heads. */
export function shapeOf(problem: Problem): Shape {
  const { B, H, G, N, M, D, E, causal, chunk, offset } = problem;
  let left = 0, right = 0;
  for (let h = 0; h < H; h++) {
    left = Math.max(left, problem.left[h]);
    right = Math.max(right, problem.right[h]);
  }
  if (causal) right = 0;
  if (chunk > 0) {
    left = Math.min(left, chunk - 1);
    right = Math.min(right, chunk - 1);
  }
  const open = (side: number) => side >= OPEN ? Infinity : side;
  return {
    B,
    H,
    G,
    N,
    M,
    D,
    E,
    left: open(left),
    right: open(right),
    offset: B > 0 ? offset[0] : 0,
    staged: stagedBytes(problem),
  };
}
