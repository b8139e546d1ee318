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

  read(a: Float64Array, a0: number, b: Float64Array, b0: number, length: number): void {
    let sum = 0, low = 0, high = 0, nodes = 0, mass = 0;
    for (let d = 0; d < length; d++) {
      const term = a[a0 + d] * b[b0 + d];
      mass += Math.abs(term);
      sum += term;
      nodes += Math.max(sum - low, high - sum);
      low = Math.min(low, sum);
      high = Math.max(high, sum);
    }
    this.mass = mass;
    this.sum = sum;
    this.nodes = length === 0 ? 0 : nodes - Math.abs(a[a0] * b[b0]);
    for (const lanes of LANES) {
      if (lanes >= length) break;
      let nodes = 0;
      for (let lane = 0; lane < lanes; lane += 4) {
        nodes = fourLanes(nodes, a, a0 + lane, b, b0 + lane, length - lane, lanes);
      }
      if (nodes > this.nodes) this.nodes = nodes;
    }
  }
}

/**
 * `nodes` plus those of four accumulators, each a {@link Run} over every `step`th term, and of joining them. Side by side
 * they wait less for each other: a tenth of the time that verifying takes.
 */
function fourLanes(
  nodes: number,
  a: Float64Array,
  a0: number,
  b: Float64Array,
  b0: number,
  length: number,
  step: number,
): number {
  let s0 = 0, low0 = 0, high0 = 0, n0 = 0;
  let s1 = 0, low1 = 0, high1 = 0, n1 = 0;
  let s2 = 0, low2 = 0, high2 = 0, n2 = 0;
  let s3 = 0, low3 = 0, high3 = 0, n3 = 0;
  for (let d = 0; d < length; d += step) {
    const at = a0 + d, bt = b0 + d;
    s0 += a[at] * b[bt];
    n0 += Math.max(s0 - low0, high0 - s0);
    low0 = Math.min(low0, s0);
    high0 = Math.max(high0, s0);
    if (d + 1 >= length) break;
    s1 += a[at + 1] * b[bt + 1];
    n1 += Math.max(s1 - low1, high1 - s1);
    low1 = Math.min(low1, s1);
    high1 = Math.max(high1, s1);
    if (d + 2 >= length) break;
    s2 += a[at + 2] * b[bt + 2];
    n2 += Math.max(s2 - low2, high2 - s2);
    low2 = Math.min(low2, s2);
    high2 = Math.max(high2, s2);
    if (d + 3 >= length) break;
    s3 += a[at + 3] * b[bt + 3];
    n3 += Math.max(s3 - low3, high3 - s3);
    low3 = Math.min(low3, s3);
    high3 = Math.max(high3, s3);
  }
  nodes += n0 - Math.abs(a[a0] * b[b0]) + 6 * Math.abs(s0);
  nodes += n1 - Math.abs(a[a0 + 1] * b[b0 + 1]) + 6 * Math.abs(s1);
  nodes += n2 - Math.abs(a[a0 + 2] * b[b0 + 2]) + 6 * Math.abs(s2);
  return nodes + (n3 - Math.abs(a[a0 + 3] * b[b0 + 3]) + 6 * Math.abs(s3));
}
