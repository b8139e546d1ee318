/** The kernels of a runtime as a back end that cases are checked on. */
import { unsupportedRecipe } from "../ops/quantised.ts";
import { resolvePrecision } from "../precision.ts";
import type { AttentionResult } from "../result.ts";
import type { Runtime } from "../runtime.ts";
import type { TensorInput } from "../tensor.ts";
import { CaseFailure } from "./case.ts";
import type { Backend, Computed } from "./check.ts";
import { oracle } from "./oracle.ts";

/**
 * float64 inputs and recipes that only the oracle computes are the oracle's, and the report's `path` says so; whatever
 * else the kernels lack, they say so and fail the case.
 */
export function kernels(runtime: Runtime): Backend {
  const name = runtime.kernels;
  return {
    name,
    forward(q, k, v, options): Computed<AttentionResult> {
      const recipe = resolvePrecision(options.precision);
      if ([q, k, v].some(isDouble) || (recipe && unsupportedRecipe(recipe))) {
        return oracle.forward(q, k, v, options);
      }
      return { ...runtime.sync.attention(q, k, v, options), path: "wasm" };
    },
    nodes: runtime.sync,
    backward() {
      throw new CaseFailure(`gradients: not available on ${name}`);
    },
  };
}

function isDouble(input: TensorInput): boolean {
  return input.data instanceof Float64Array;
}
