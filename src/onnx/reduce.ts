/** ReduceMax, ReduceMin and ReduceSum of subgraphs, on enclosures. */
import { axisOf, integer, known, walk } from "./axes.ts";
import { above, below } from "./evaluations.ts";
import { type GraphOperator, isFloat, onlyAttributes, required, stepsOf } from "./ranged.ts";
import { emptyRange, isExact } from "./steps.ts";

/** Operators by their ONNX names. */
export const reductions: Readonly<Record<string, GraphOperator>> = {
  ReduceMax: reduce((a, b) => Math.max(a, b), -Infinity, false),
  ReduceMin: reduce((a, b) => Math.min(a, b), Infinity, false),
  ReduceSum: reduce((a, b) => a + b, 0, true),
};

/** A reduction over the axes of the second input; a sum of n terms errs by n roundings of its partial sums. */
function reduce(f: (a: number, b: number) => number, start: number, rounds: boolean): GraphOperator {
  return (inputs, context) => {
    onlyAttributes(context, ["keepdims", "noop_with_empty_axes"]);
    const [x, list] = required(inputs, [1, 2], context);
    const given = list ? known(list, context).map((axis) => axisOf(axis, x.shape.length, context)) : [];
    if (given.length === 0 && integer(context, "noop_with_empty_axes", 0) === 1) return x;
    const axes = given.length === 0 ? x.shape.map((_, axis) => axis) : given;
    const shape = x.shape.map((n, axis) => axes.includes(axis) ? 1 : n);
    const arithmetic = context.arithmetic(x.dtype);
    const inexact = rounds && isFloat(x.dtype) && !isExact(arithmetic);
    const out = emptyRange(shape, x.lo === x.hi && !inexact);
    const mass = new Float64Array(out.lo.length);
    const steps = stepsOf(shape, x.shape);
    out.lo.fill(start);
    out.hi.fill(start);
    const index = walk(x.shape, steps);
    for (let e = 0; e < x.lo.length; e++) {
      const at = index(e);
      const low = f(out.lo[at], x.lo[e]);
      if (out.lo !== out.hi) out.hi[at] = f(out.hi[at], x.hi[e]);
      out.lo[at] = low;
      mass[at] += Math.max(Math.abs(x.lo[e]), Math.abs(x.hi[e]));
    }
    if (rounds && isFloat(x.dtype)) {
      const terms = x.lo.length / Math.max(1, out.lo.length);
      for (let e = 0; e < out.lo.length; e++) {
        const slack = inexact ? terms * arithmetic.u * mass[e] : 0;
        const low = arithmetic.result.down(below(out.lo[e], 0, slack));
        if (out.lo !== out.hi) out.hi[e] = arithmetic.result.up(above(out.hi[e], 0, slack));
        out.lo[e] = low;
      }
    }
    const keep = integer(context, "keepdims", 1) === 1;
    return { dtype: x.dtype, ...out, shape: keep ? shape : shape.filter((_, axis) => !axes.includes(axis)) };
  };
}
