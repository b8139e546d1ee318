/** The oracle as a back end: what expectations and explanations are computed with. */
import { createProblem } from "../problem.ts";
import { forward } from "../reference/attention.ts";
import { attentionBackward } from "../reference/backward.ts";
import type { Backend } from "./check.ts";

export const oracle: Backend = {
  name: "reference",
  forward: (q, k, v, options) => ({ ...forward(createProblem(q, k, v, options)), path: "reference" }),
  backward: (q, k, v, { out, lse }, dOut, dLse, options) => ({
    ...attentionBackward(q, k, v, out, lse, dOut, { ...options, ...(dLse && { dLse }) }),
    path: "reference",
  }),
};
