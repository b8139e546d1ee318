/**
 * Rounding errors of a sum, from its partial sums (docs/error-bounds.md §3).
 *
 * Each addition rounds its result: |error| ≤ u·Σ |partial sum|, over all partial sums that the order of summation
 * forms. That is far less than the textbook's (n − 1)·u·Σ|t|, because terms of both signs cancel as they come in. The
 * orders covered are those of a kernel with one accumulator or with W interleaved ones: terms in ascending order
 * within an accumulator, which may start afresh at any term and be added to a total later.
 */

/** The largest partial sum that may end in the term just added, for a sum that began anywhere before. */
export class Run {
  #sum = 0;
  #low = 0;
  #high = 0;
  /** Σ over the terms of the largest |partial sum| that ends there: what u multiplies. */
  nodes = 0;
  /** The largest |partial sum| of all. */
  largest = 0;

  add(term: number): void {
    const sum = this.#sum += term;
    const reach = Math.max(sum - this.#low, this.#high - sum);
    this.nodes += reach;
    if (reach > this.largest) this.largest = reach;
    if (sum < this.#low) this.#low = sum;
    if (sum > this.#high) this.#high = sum;
  }

  get sum(): number {
    return this.#sum;
  }

  clear(): void {
    this.#sum =
      this.#low =
      this.#high =
      this.nodes =
      this.largest =
        0;
  }
}

/** Accumulators that the scores' sum over d may be spread over, if not one: one vector, two, four. */
const LANES = [4, 8, 16] as const;

/**
 * Σ_d a[d]·b[d] and what its rounding depends on: Σ|a·b|, and Σ |partial sums| in the worst of the orders of LANES. The
 * first term of an accumulator is exact, and W accumulators are joined in W − 1 additions, at most 6 of them one
 * behind the other (two trees or chains of up to four).
 */
export class DotNodes {
  sum = 0;
  mass = 0;
  nodes = 0;
  readonly #run = new Run();

  read(a: Float64Array, a0: number, b: Float64Array, b0: number, length: number): void {
    const run = this.#run;
    let mass = 0;
    run.clear();
    for (let d = 0; d < length; d++) {
      const term = a[a0 + d] * b[b0 + d];
      mass += Math.abs(term);
      run.add(term);
    }
    this.mass = mass;
    this.sum = run.sum;
    this.nodes = length === 0 ? 0 : run.nodes - Math.abs(a[a0] * b[b0]);
    for (const lanes of LANES) {
      if (lanes >= length) break;
      let nodes = 0;
      for (let lane = 0; lane < lanes; lane++) {
        run.clear();
        for (let d = lane; d < length; d += lanes) run.add(a[a0 + d] * b[b0 + d]);
        nodes += run.nodes - Math.abs(a[a0 + lane] * b[b0 + lane]) + 6 * Math.abs(run.sum);
      }
      if (nodes > this.nodes) this.nodes = nodes;
    }
  }
}
