/**
 * One case on one back end: compute what the file expects and compare it with the bounds of this very case.
 */
import { createBackwardProblem } from "../gradients.ts";
import type { FileTensor } from "../io/tensor.ts";
import type { AttentionOptions } from "../options.ts";
import type { Operations } from "../onnx/node.ts";
import { createProblem } from "../problem.ts";
import { type AttentionResult, type Gradients, placeLse, placeOut } from "../result.ts";
import { sizeOf, type Tensor, type TensorInput } from "../tensor.ts";
import { type Arithmetic, FLOAT32, FLOAT64 } from "./arithmetic.ts";
import { forwardBounds } from "./bounds.ts";
import { type Case, CaseFailure, inFileTerms, type OutputName, OUTPUTS } from "./case.ts";
import { compare, type Comparison } from "./compare.ts";
import { gradientBounds } from "./gradients.ts";

/** Which code computed: WebAssembly kernels, or the oracle in TypeScript. */
export type Path = "wasm" | "reference";

/** What computes the cases. A failure to compute is an Error that names the option it lacks. */
export interface Backend {
  readonly name: "reference" | "deterministic" | "relaxed";
  /** As `attention`. */
  forward(
    q: TensorInput,
    k: TensorInput,
    v: TensorInput,
    options: AttentionOptions,
  ): Computed<AttentionResult>;
  /** As `attentionBackward`; throws if there are no gradients. */
  backward(
    q: TensorInput,
    k: TensorInput,
    v: TensorInput,
    forward: Required<Pick<AttentionResult, "out" | "lse">>,
    dOut: TensorInput,
    dLse: TensorInput | null,
    options: AttentionOptions,
  ): Computed<Gradients>;
  /** What nodes of ONNX come down to besides attention, on "wasm"; what isn't there is the oracle's. */
  readonly nodes?: Omit<Operations, "attention">;
}

/** A result, and which code it came from. */
export type Computed<Result> = Result & { readonly path: Path };

/** What became of a case. */
export interface CaseReport {
  readonly name: string;
  /** Which code ran; null if none did. */
  readonly path: Path | null;
  readonly outputs: Readonly<Record<string, Comparison>>;
  readonly ok: boolean;
  /** Why nothing, or not everything, was compared. */
  readonly failure?: string;
}

/** What a case computes to. */
export interface Results {
  /** "wasm" if nothing else ran. */
  readonly path: Path;
  /** The coarsest that took part. */
  readonly arithmetic: Arithmetic;
  readonly tensors: ReadonlyMap<OutputName, Tensor>;
  /** Why the gradients that were asked for aren't there. */
  readonly failure?: string;
}

/**
 * Computes the outputs of a case that are asked for and possible (gradients need `dout`).
 *
 * @throws {TypeError | RangeError} The inputs don't fit together; the message names the field.
 * @throws {CaseFailure} The back end lacks something that the forward pass needs.
 */
export function computeCase(
  content: Case,
  backend: Backend,
  outputs: ReadonlySet<string> = new Set(OUTPUTS),
): Results {
  const { q, k, v, options, dout, dlse } = content;
  checkInputs(content);
  const tensors = new Map<OutputName, Tensor>();
  const forward = attempt(() => backend.forward(q, k, v, { ...options, lse: true }));
  const { out, lse } = forward;
  const paths = new Set([forward.path]);
  if (outputs.has("o")) tensors.set("o", out);
  if (outputs.has("lse") && lse) tensors.set("lse", lse);
  let failure: string | undefined;
  if (dout && lse && GRADIENTS.some((name) => outputs.has(name))) {
    try {
      const gradients = attempt(() => backend.backward(q, k, v, { out, lse }, dout, dlse, options));
      paths.add(gradients.path);
      const { dq, dk, dv, dBias, dSink } = gradients;
      const named = { dq, dk, dv, dbias: dBias, dsink: dSink };
      for (const name of GRADIENTS) {
        const tensor = named[name];
        if (tensor && outputs.has(name)) tensors.set(name, tensor);
      }
    } catch (error) {
      if (!(error instanceof CaseFailure)) throw error;
      failure = error.message;
    }
  }
  return {
    path: paths.has("reference") ? "reference" : "wasm",
    arithmetic: paths.has("wasm") ? FLOAT32 : FLOAT64,
    tensors,
    ...(failure !== undefined && { failure }),
  };
}

const GRADIENTS = ["dq", "dk", "dv", "dbias", "dsink"] as const;

/** The door is asked before the back end, so that a fault of the file isn't taken for one of the back end. */
function checkInputs(content: Case): void {
  try {
    createProblem(content.q, content.k, content.v, content.options);
    if (content.dout) backwardTask(content, content.dout);
  } catch (error) {
    if (error instanceof TypeError) throw new TypeError(inFileTerms(error.message), { cause: error });
    if (error instanceof RangeError) throw new RangeError(inFileTerms(error.message), { cause: error });
    throw error;
  }
}

/**
 * The backward pass with zeros in the place of O and lse: checks and bounds need only their shapes. That gradients have
 * no other precision than float32 is for the back end to say.
 */
function backwardTask({ q, k, v, options: { precision: _, ...options }, dlse }: Case, dout: FileTensor) {
  const problem = createProblem(q, k, v, options);
  const zeros = (shape: number[]) => ({ data: new Float64Array(sizeOf(shape)), shape });
  const out = zeros(placeOut(problem).shape);
  const lse = zeros(placeLse(problem).shape);
  return createBackwardProblem(q, k, v, out, lse, dout, { ...options, ...(dlse && { dLse: dlse }) });
}

/** What a back end refuses after the door let it pass is a failure of the case. */
export function attempt<T>(compute: () => T): T {
  try {
    return compute();
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) {
      throw new CaseFailure(inFileTerms(error.message), { cause: error });
    }
    throw error;
  }
}

/**
 * Computes a case and compares the outputs asked for with what the file expects.
 *
 * @throws {TypeError | RangeError} The file's tensors don't fit together; the message names the field.
 */
export function checkCase(
  content: Case,
  backend: Backend,
  asked: ReadonlySet<string>,
): CaseReport {
  const { name, expected } = content;
  const wanted = new Set([...expected.keys()].filter((output) => asked.has(output)));
  if (expected.size === 0) {
    throw new RangeError(`o: expected at least one of ${OUTPUTS.join(", ")}, got none`);
  }
  for (const output of wanted) {
    if (isGradient(output) && !content.dout) {
      throw new RangeError(`dout: expected a tensor, as there is ${output}`);
    }
  }
  let results: Results;
  try {
    results = computeCase(content, backend, wanted);
  } catch (error) {
    if (error instanceof CaseFailure) {
      return { name, path: null, outputs: {}, ok: false, failure: error.message };
    }
    throw error;
  }
  const { path, arithmetic, tensors } = results;
  const bounds = boundsOf(content, arithmetic, wanted);
  const outputs: Record<string, Comparison> = {};
  const missing: string[] = [];
  for (const output of wanted) {
    const tensor = tensors.get(output);
    if (tensor) outputs[output] = compare(output, expected.get(output)!, tensor, bounds.get(output)!);
    else missing.push(output);
  }
  const why = missing.length === 0 ? undefined : results.failure ?? `${missing.join(", ")}: not computed`;
  const ok = why === undefined && Object.values(outputs).every((comparison) => comparison.ok);
  return { name, path, outputs, ok, ...(why !== undefined && { failure: why }) };
}

function isGradient(name: string): boolean {
  return (GRADIENTS as readonly string[]).includes(name);
}

/** The expectation was computed in float64, the result in `arithmetic`: how far they may lie apart. */
export function boundsOf(
  content: Case,
  arithmetic: Arithmetic,
  outputs: ReadonlySet<OutputName>,
): Map<OutputName, Float64Array> {
  const bounds = new Map<OutputName, Float64Array>();
  const own = content.options.precision === undefined ? arithmetic : { ...arithmetic, quantised: true };
  if (outputs.has("o") || outputs.has("lse")) {
    const problem = createProblem(content.q, content.k, content.v, content.options);
    const { out, lse } = forwardBounds(problem, own, FLOAT64);
    bounds.set("o", out).set("lse", lse);
  }
  if (content.dout && [...outputs].some(isGradient)) {
    const task = backwardTask(content, content.dout);
    const { dq, dk, dv, dBias, dSink } = gradientBounds(task, own, FLOAT64);
    bounds.set("dq", dq).set("dk", dk).set("dv", dv).set("dsink", dSink);
    if (dBias) bounds.set("dbias", dBias);
  }
  return bounds;
}
