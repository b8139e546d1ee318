/** P → P·keep/(1 − p), the mask of src/dropout.ts. l and lse are summed before, so they know nothing of it. */
import { dropoutDraw, dropoutRow, dropoutThreshold } from "../dropout.ts";
import type { Head } from "./heads.ts";

/** Drops entries of row i, where P[0] belongs to key `from`. */
export function dropRow({ problem, b, h }: Head, i: number, from: number, P: Float64Array): void {
  if (problem.dropout === null) return;
  const { p, seed } = problem.dropout;
  const row = dropoutRow(seed, b, h, i);
  const threshold = dropoutThreshold(p);
  for (let j = 0; j < P.length; j++) P[j] = dropoutDraw(row, from + j) >= threshold ? P[j] / (1 - p) : 0;
}
