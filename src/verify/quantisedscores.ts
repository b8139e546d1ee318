/**
 * What quantising Q and K may add to the errors of a row of scores (docs/error-bounds.md §10):
 *
 *   |ŝ − s| ≤ |σ|·Σ_d [(|q′| + e_q)(|k′| + e_k) − |q′||k′|]        e: half a step (`Grid.error`)
 *
 * and what rounding does to the parts that aren't quantised, ΔS and q·k̄. 4·D flops a score.
 */
import type { Problem } from "../problem.ts";
import type { Recipe } from "../precision.ts";
import { dot } from "../reference/dot.ts";
import type { Head } from "../reference/heads.ts";
import { type Operand, quantiseKeys, quantiseQueries } from "../reference/sagescores.ts";
import type { Arithmetic } from "./arithmetic.ts";
import { codeError } from "./codeerror.ts";
import { type RowScores, SECOND_ORDER } from "./rowscores.ts";

/** Roundoff of float32, in which codes, scales and differences from means are made, whatever computes the rest. */
export const U = 2 ** -24;

/** An operand [rows,D] as the bound needs it. */
interface Reach {
  readonly operand: Operand;
  /** |x′| and |x′| + e. */
  readonly size: Float64Array;
  readonly reach: Float64Array;
  /** Euclidean norm of each row of `reach`, of x itself, of each mean. */
  readonly norm: Float64Array;
  readonly inputNorm: Float64Array;
  readonly meanNorm: Float64Array;
}

export class ScoreErrors {
  readonly #recipe: Recipe;
  readonly #arithmetic: Arithmetic;
  #keys: Reach | null = null;
  #queries: Reach | null = null;

  constructor(problem: Problem, arithmetic: Arithmetic) {
    this.#recipe = problem.precision as Recipe;
    this.#arithmetic = arithmetic;
  }

  /** Before the rows of the heads that share K. */
  enterGroup({ problem, K, M }: Head, seen: Uint8Array): void {
    if (this.#recipe.qk === "float32") return;
    const operand = quantiseKeys(K, M, problem.D, seen, this.#recipe);
    this.#keys = this.#reach(operand, K, problem.D, problem.k.dtype === "float64");
  }

  enter(head: Head): void {
    if (this.#recipe.qk === "float32") return;
    const operand = quantiseQueries(head, this.#recipe);
    this.#queries = this.#reach(operand, head.Q, head.problem.D, head.problem.q.dtype === "float64");
  }

  /** Adds to the errors of row i. */
  add({ problem }: Head, i: number, { count, key }: RowScores, error: Float64Array): void {
    const [q, k] = [this.#queries, this.#keys];
    if (q === null || k === null || !q.operand.finite[i]) return;
    const { D, scale, softcap } = problem;
    const sum = this.#arithmetic.u * (D + 8);
    const block = Math.floor(i / q.operand.block);
    const most = softcap > 0 ? 2 * softcap : Infinity;
    for (let n = 0; n < count; n++) {
      const j = key[n];
      if (!k.operand.finite[j]) continue;
      const reach = dot(q.reach, i * D, k.reach, j * D, D);
      const coded = reach * (1 + 2 ** -50) - dot(q.size, i * D, k.size, j * D, D);
      // ΔS is made from k′, which is rounded; each of the three products is a sum of D terms at most.
      const smoothed = (q.meanNorm[block] ?? 0) * k.norm[j] * (U + sum) +
        q.inputNorm[i] * (k.meanNorm[0] ?? 0) * sum;
      const e = Math.abs(scale) * (coded + smoothed + q.norm[i] * k.norm[j] * sum);
      error[n] += Math.min(e, most) * SECOND_ORDER;
    }
  }

  /** `wide`: x is float64, so that rounding it to float32 is one error more. */
  #reach(operand: Operand, x: Float64Array, D: number, wide: boolean): Reach {
    const { smooth, finite, mean, grid, scaleAt } = operand;
    const rows = smooth.length / D;
    const size = new Float64Array(smooth.length);
    const reach = new Float64Array(smooth.length);
    const norm = new Float64Array(rows);
    const inputNorm = new Float64Array(rows);
    const error = codeError(this.#recipe.qk, grid.top);
    const drift = mean && this.#drift(x, D, operand);
    for (let row = 0; row < rows; row++) {
      if (!finite[row]) continue;
      const { slip, worst } = drift ? drift(row) : { slip: null, worst: 0 };
      for (let d = 0; d < D; d++) {
        const at = row * D + d;
        const a = Math.abs(smooth[at]) + (slip ? slip[d] : 0);
        const scale = scaleAt(row, d) + worst / grid.top;
        size[at] = a;
        reach[at] = a + error(a, scale) + (wide ? U * Math.abs(x[at]) : 0);
      }
      norm[row] = Math.sqrt(dot(reach, row * D, reach, row * D, D));
      inputNorm[row] = Math.sqrt(dot(x, row * D, x, row * D, D));
    }
    const means = mean === null ? 0 : mean.length / D;
    const meanNorm = Float64Array.from(
      { length: means },
      (_, r) => Math.sqrt(dot(mean!, r * D, mean!, r * D, D)),
    );
    return { operand, size, reach, norm, inputNorm, meanNorm };
  }

  /**
   * How far another implementation's mean may be from the oracle's: the sum of n terms in its arithmetic is off by
   * n·u·Σ|x|, whatever the order. That mean is as good as ours, but its differences, and scales, differ by that much.
   */
  #drift(x: Float64Array, D: number, { block, finite }: Operand): (row: number) => Slip {
    const { u } = this.#arithmetic;
    if (u < U) return () => ({ slip: null, worst: 0 });
    const rows = x.length / D;
    const blocks: Slip[] = [];
    return (row) => {
      const index = Math.floor(row / block);
      if (blocks[index] !== undefined) return blocks[index];
      const first = index * block;
      const last = Math.min(first + block, finite.length, rows);
      const slip = new Float64Array(D);
      for (let r = first; r < last; r++) {
        if (finite[r]) { for (let d = 0; d < D; d++) slip[d] += Math.abs(x[r * D + d]); }
      }
      // Σ|x|·n·u/n, and the rounding of the quotient.
      for (let d = 0; d < D; d++) slip[d] *= 2 * u;
      return blocks[index] = { slip, worst: slip.reduce((a, b) => Math.max(a, b), 0) };
    };
  }
}

interface Slip {
  readonly slip: Float64Array | null;
  readonly worst: number;
}
