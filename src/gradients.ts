/**
 * The door of the backward pass: (q, k, v, out, lse, dOut, options) → a validated BackwardProblem.
 *
 * `out` and `dOut` have the shape of the forward's result, `lse` and `dLse` that of its lse, and both are read as the
 * semantics reports them.
 */
import { expectRecord } from "./check.ts";
import { type TensorInput, type View, view } from "./tensor.ts";
import { expectShape } from "./vector.ts";
import { floating } from "./geometry.ts";
import type { AttentionOptions } from "./options.ts";
import { expectFloat32 } from "./precision.ts";
import { createProblem, type Problem } from "./problem.ts";
import { placeLse, placeOut } from "./result.ts";

/** The forward's options, and the gradient that enters through lse. */
export interface BackwardOptions extends AttentionOptions {
  /** Shaped like lse; zero unless given. */
  readonly dLse?: TensorInput;
}

export interface BackwardProblem {
  readonly problem: Problem;
  /** In the layout and shape of the results, `placeOut` and `placeLse`. */
  readonly out: View;
  readonly dOut: View;
  readonly lse: View;
  readonly dLse: View | null;
  /** The bias's own shape, which dBias has. */
  readonly biasShape: readonly number[] | null;
}

/** @throws TypeError for a wrong kind, RangeError for a wrong value or shape; the message starts with the name. */
export function createBackwardProblem(
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  out: TensorInput,
  lse: TensorInput,
  dOut: TensorInput,
  options: BackwardOptions = {},
): BackwardProblem {
  expectRecord("options", options, "an object");
  const { dLse, ...forward } = options;
  const problem = createProblem(q, k, v, forward);
  expectFloat32(problem);
  const outShape = placeOut(problem).shape;
  const lseShape = placeLse(problem).shape;
  return {
    problem,
    out: shaped("out", out, outShape),
    lse: shaped("lse", lse, lseShape),
    dOut: shaped("dOut", dOut, outShape),
    dLse: dLse === undefined ? null : shaped("dLse", dLse, lseShape),
    biasShape: forward.bias === undefined ? null : view("bias", forward.bias).shape,
  };
}

function shaped(name: string, input: TensorInput, shape: readonly number[]): View {
  const source = floating(name, input);
  expectShape(name, source, shape);
  return source;
}
