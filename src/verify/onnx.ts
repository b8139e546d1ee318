/**
 * An ONNX case file on one back end. The expectation may be off by what src/onnx encloses; what the back end's own
 * arithmetic adds is bounded here, from the attention problem that the node comes down to.
 */
import type { Safetensors } from "../io/safetensors.ts";
import type { Comparison as OnnxComparison } from "../onnx/bounds.ts";
import { compareOnnxCase } from "../onnx/case.ts";
import { type Precision, type Recipe, resolvePrecision } from "../precision.ts";
import { type Arithmetic, FLOAT32, FLOAT64 } from "./arithmetic.ts";
import { forwardBounds } from "./bounds.ts";
import { CaseFailure } from "./case.ts";
import { attempt, type Backend, type CaseReport, type Path } from "./check.ts";
import { compare, type Comparison } from "./compare.ts";

/** What the node doesn't have fails the case; anything else that is wrong makes the file unusable. */
const UNKNOWN = /^[^:]*: no such |^(?:op|domain|opset): /;

/**
 * Compares every output of the node that the file has; if `outputs` is given, only the main one (first of the node), and
 * only if it has "o".
 *
 * @throws {TypeError | RangeError | SyntaxError} The node's inputs don't fit together; the message names the field.
 */
export function checkOnnxCase(
  { metadata, tensors }: Safetensors,
  name: string,
  backend: Backend,
  { outputs: asked, precision }: {
    outputs?: ReadonlySet<string> | undefined;
    precision?: Precision | undefined;
  } = {},
): CaseReport {
  const recipe = resolvePrecision(precision);
  let attended: Path = "reference";
  let found: ReturnType<typeof compareOnnxCase>;
  try {
    found = compareOnnxCase(metadata, tensors, {
      ...backend.nodes,
      attention: (q, k, v, options = {}) => {
        const result = attempt(() =>
          backend.forward(q, k, v, recipe ? { ...options, precision: recipe } : options)
        );
        attended = result.path;
        return result;
      },
    });
  } catch (error) {
    if (!(error instanceof CaseFailure) && !(error instanceof Error && UNKNOWN.test(error.message))) {
      throw error;
    }
    return { name, path: null, outputs: {}, ok: false, failure: error.message };
  }
  const outputs: Record<string, Comparison> = {};
  const paths = new Set<Path>();
  found.filter((_, x) => !asked || (x === 0 && asked.has("o"))).forEach((output) => {
    const { name, shape, got, expected, bound, by } = output;
    // Other operations than attention are there on kernels alone; a precision that these lack is not theirs.
    const scored = output.of === "probabilities" && recipe && backend.nodes;
    const path: Path = by === "operator" ? "reference" : output.own || scored ? "wasm" : attended;
    if (by !== "inputs") paths.add(path);
    const own = ownBound(output, path === "wasm" ? FLOAT32 : FLOAT64, recipe);
    const bounds = own ? bound.map((theirs, n) => theirs + own[n]) : bound;
    const tensor = { data: got, shape: [...shape], dtype: "float64" as const };
    outputs[name] = compare(name, expected, tensor, bounds, true);
  });
  const path = paths.has("reference") ? "reference" : paths.has("wasm") ? "wasm" : attended;
  return { name, path, outputs, ok: Object.values(outputs).every(({ ok }) => ok) };
}

/** What the back end's arithmetic adds to the error of the expectation. */
function ownBound(
  { own, problem, of }: OnnxComparison,
  arithmetic: Arithmetic,
  recipe: Recipe | null,
): Float64Array | null {
  if (own || !problem) return own;
  if (of === "probabilities") {
    const want = { ...problem.want, probabilities: true };
    return forwardBounds({ ...problem, want, precision: null }, arithmetic, FLOAT64).probabilities;
  }
  const rounded = recipe ? { ...arithmetic, quantised: true } : arithmetic;
  return forwardBounds({ ...problem, precision: recipe }, rounded, FLOAT64).out;
}
