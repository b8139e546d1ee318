/**
 * `flashtile/verify`: case files against derived error bounds, as `flashtile verify` does it, without a file system.
 *
 * @module flashtile/verify
 */
import { readSafetensors, type Safetensors } from "../io/safetensors.ts";
import { isOnnxCase } from "../onnx/case.ts";
import type { Precision } from "../precision.ts";
import { createRuntime, type Runtime } from "../index.ts";
import { CaseFailure, caseOf, FORWARD_OUTPUTS, inPrecision, OUTPUTS } from "./case.ts";
import { type Backend, type CaseReport, checkCase } from "./check.ts";
import { kernels } from "./kernels.ts";
import { checkOnnxCase } from "./onnx.ts";
import { oracle } from "./oracle.ts";

export type { Backend, CaseReport, Computed, Path } from "./check.ts";
export type { Comparison } from "./compare.ts";

/** What {@link verifyCase} may be told. */
export interface VerifyOptions {
  /** What the report and errors call the case, default "case". */
  readonly name?: string;
  /** The float64 oracle, the deterministic kernels (default), a runtime of yours, or any attention of yours. */
  readonly backend?: "reference" | "deterministic" | Runtime | Backend;
  /** Compare only these of o, lse, dq, dk, dv, dbias, dsink; with `precision`, o and lse unless said otherwise. */
  readonly outputs?: readonly string[];
  readonly precision?: Precision;
}

/**
 * Computes a case file and compares every expected output with the error bound derived for this very case.
 *
 * @param bytes A case file: safetensors with inputs, options and expected outputs.
 * @returns Which code ran, and for each output the worst error, its bound and its place; `ok` if all are within.
 * @throws {SyntaxError} The file is broken.
 * @throws {TypeError | RangeError} Its tensors don't fit together; the message names the field.
 *
 * @example
 * ```ts
 * import { writeSafetensors } from "flashtile/io";
 * import { verifyCase } from "flashtile/verify";
 * const tensor = (...data: number[]) => ({ dtype: "float32" as const, shape: [1, 1, 1, 2], data: Float32Array.from(data) });
 * const bytes = writeSafetensors({
 *   metadata: { attention: '{"scale": 1, "causal": false}' },
 *   tensors: { q: tensor(1, 0), k: tensor(0, 1), v: tensor(3, 4), o: tensor(3, 4) },
 * });
 * const { ok, path, outputs } = await verifyCase(bytes);
 * console.log(ok, path, outputs.o.maxAbs); // true wasm 0
 * ```
 */
export async function verifyCase(bytes: Uint8Array, options: VerifyOptions = {}): Promise<CaseReport> {
  const { name = "case", backend = "deterministic", outputs, precision } = options;
  const file = readSafetensors(bytes, { name });
  const set = outputs && new Set(outputs);
  if (typeof backend === "object") {
    const own = "forward" in backend ? backend : kernels(backend);
    return verifyFile(file, name, own, { outputs: set, precision });
  }
  if (backend === "reference") return verifyFile(file, name, oracle, { outputs: set, precision });
  const runtime = await createRuntime();
  try {
    return verifyFile(file, name, kernels(runtime), { outputs: set, precision });
  } finally {
    runtime.close();
  }
}

/**
 * A file that has been read; a case that fails is reported, one that is unusable throws.
 *
 * @internal
 */
export function verifyFile(
  file: Safetensors,
  name: string,
  backend: Backend,
  { outputs, precision, source = name }: {
    readonly outputs?: ReadonlySet<string> | undefined;
    readonly precision?: Precision | undefined;
    /** What errors call the file. */
    readonly source?: string;
  },
): CaseReport {
  try {
    if (isOnnxCase(file.metadata)) {
      return checkOnnxCase(file, name, backend, {
        ...(outputs && { outputs }),
        ...(precision && { precision }),
      });
    }
    const content = inPrecision(caseOf(file, source), precision);
    const all = content.options.precision === undefined ? OUTPUTS : FORWARD_OUTPUTS;
    return checkCase({ ...content, name }, backend, outputs ?? new Set(all));
  } catch (error) {
    if (!(error instanceof CaseFailure)) throw error;
    return { name, path: null, outputs: {}, ok: false, failure: error.message };
  }
}
