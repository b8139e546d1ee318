/**
 * What quantisation adds to the bounds of one row, between the analysis of scores, weights and values that all
 * arithmetics share (bounds.ts, docs/error-bounds.md §10).
 */
import type { Problem } from "../problem.ts";
import { type Head, headGroups } from "../reference/heads.ts";
import { seenKeys } from "../reference/seen.ts";
import type { Arithmetic } from "./arithmetic.ts";
import { ScoreErrors } from "./quantisedscores.ts";
import { ValueErrors } from "./quantisedvalues.ts";

/** The arithmetic of a computation that quantises as the problem's `precision` says. */
export function quantised(arithmetic: Arithmetic): Arithmetic {
  return { ...arithmetic, quantised: true };
}

export class Quantisation {
  readonly scores: ScoreErrors;
  readonly values: ValueErrors;
  readonly #groups: Generator<Head[]>;
  #heads = 0;

  constructor(problem: Problem, arithmetic: Arithmetic) {
    this.scores = new ScoreErrors(problem, arithmetic);
    this.values = new ValueErrors(problem, arithmetic);
    this.#groups = headGroups(problem);
  }

  /** Before the rows of another head; heads come in the order of `heads`. */
  enter(head: Head): void {
    if (this.#heads++ % head.problem.group === 0) {
      const seen = seenKeys(this.#groups.next().value!);
      this.scores.enterGroup(head, seen);
      this.values.enterGroup(head, seen);
    }
    this.scores.enter(head);
  }
}
