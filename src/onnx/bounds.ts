/**
 * How far an expectation in a case file may be from the exact answer.
 *
 *   |expected − exact| ≤ max(hi − exact, exact − lo)        for every element
 *
 * where [lo, hi] encloses, step by step, what an evaluation in the case's dtypes can give, rounded to the dtype that
 * the expectation is stored in (steps.ts, evaluations.ts). Where more than one evaluation is in use, the output as a
 * whole must fit one of them. What an implementation in float32 adds to this isn't counted here: it depends on the
 * implementation and on the problem, which comes along.
 *
 * For float32 this comes to 10^-7 … 10^-6 of |y|, three orders below the rtol 10^-3 that ONNX's own tests allow.
 */
import type { FileTensor } from "../io/tensor.ts";
import type { Problem } from "../problem.ts";
import { toFloat64, view } from "../tensor.ts";
import { type Node, type Operator, ORACLE, type Range, type Result } from "./node.ts";

/** An output beside its expectation. */
export interface Comparison {
  /** The output's name in the file. */
  readonly name: string;
  readonly shape: readonly number[];
  /** What was computed, not rounded to the dtype of the output. */
  readonly got: Float64Array;
  readonly expected: FileTensor;
  /** The most that |expected − exact| may be; NaN and ∞ must be the same in both. */
  readonly bound: Float64Array;
  /** Who made it: the implementation, the operator's own code in float64, or the inputs, of which it is a copy. */
  readonly by: Result["by"];
  /** The problem of attention that the implementation solved for it, and which of its results it is. */
  readonly problem: Problem | null;
  readonly of: "out" | "probabilities";
  /** The most that float32 kernels may add to `bound`; null: see `problem`, or nothing. */
  readonly own: Float64Array | null;
}

/**
 * Compares the outputs of a node with what is expected of them.
 *
 * @param expected Tensors by the formal names of the outputs; `names`: what the file calls them.
 * @throws RangeError if an output's dtype or shape isn't the expected one.
 */
export function compareNode(
  operator: Operator,
  node: Node,
  expected: ReadonlyMap<string, FileTensor>,
  names: ReadonlyMap<string, string>,
): Comparison[] {
  const results = operator.evaluate(node);
  // The bounds are distances from the exact answer, which is the oracle's, whoever computed `got`.
  const exact = node.implementation === ORACLE
    ? results
    : operator.evaluate({ ...node, implementation: ORACLE });
  const enclosures = operator.enclose(node);
  return [...expected].map(([formal, tensor]) => {
    const name = names.get(formal)!;
    const result = results[formal];
    if (!result) {
      throw new RangeError(`${name}: expected an output that the node has, got none for ${formal}`);
    }
    checkLike(name, result, tensor);
    const wanted = toFloat64(view(name, tensor));
    const bounds = enclosures.map((ranges) => distances(exact[formal].values, ranges[formal]));
    const fitting = bounds.findIndex((bound) => fits(exact[formal].values, wanted, bound));
    return {
      name,
      shape: result.shape,
      got: result.values,
      expected: tensor,
      bound: bounds[Math.max(0, fitting)],
      by: result.by,
      problem: result.problem,
      of: result.of ?? "out",
      own: result.own ? distances(exact[formal].values, result.own()) : null,
    };
  });
}

function checkLike(name: string, { shape, dtype }: Result, tensor: FileTensor): void {
  if (tensor.dtype !== dtype || tensor.shape.join() !== shape.join()) {
    throw new RangeError(`${name}: expected ${tensor.dtype} [${tensor.shape}], got ${dtype} [${shape}]`);
  }
}

/** The farther end of each enclosure; 0 for an output that is copied. */
function distances(exact: Float64Array, range: Range | undefined): Float64Array {
  if (!range) return new Float64Array(exact.length);
  return exact.map((x, n) => {
    // Infinite together, or a NaN that is no accident.
    if (Object.is(x, range.lo[n]) && Object.is(x, range.hi[n])) return 0;
    return Math.max(range.hi[n] - x, x - range.lo[n], 0);
  });
}

/** Is every element within its bound? */
function fits(exact: Float64Array, wanted: Float64Array, bound: Float64Array): boolean {
  return wanted.every((y, n) =>
    Object.is(y, exact[n]) || y === exact[n] || Math.abs(y - exact[n]) <= bound[n]
  );
}
