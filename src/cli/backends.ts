/** The back ends that --backend names, each loaded when it is first used. */
import { InvalidArgumentError, Option } from "commander";
import { type Precision } from "../precision.ts";
import { parsePrecision } from "../recipes.ts";
import { createRuntime } from "../runtime.ts";
import type { Backend } from "../verify/check.ts";
import { kernels } from "../verify/kernels.ts";
import { oracle } from "../verify/oracle.ts";
import { deterministic } from "../wasm/deterministic.ts";
import { InputError, messageOf } from "./io.ts";

export const BACKENDS = ["reference", "deterministic", "relaxed"] as const;
export type BackendName = (typeof BACKENDS)[number];

export interface BackendOptions {
  readonly backend: BackendName;
  readonly precision?: Precision;
  readonly threads?: number;
}

/** --backend, as every command has it. */
export function backendOption(): Option {
  return new Option(
    "--backend <NAME>",
    "what computes: the float64 oracle or a build of the kernels (relaxed needs relaxed SIMD)",
  )
    .choices(BACKENDS).default("deterministic");
}

/** --precision, a name or a record in JSON. */
export function precisionOption(): Option {
  return new Option(
    "--precision <P>",
    "float32, int12, int8, a name of a published pipeline, or its record in JSON",
  )
    .argParser((text) => {
      try {
        return parsePrecision(text);
      } catch (error) {
        throw new InvalidArgumentError(messageOf(error));
      }
    });
}

/** @throws {InputError} An option that this back end doesn't have; FlashtileError NO_SIMD if it cannot run here. */
export async function createBackend({ backend, threads }: BackendOptions): Promise<Backend> {
  if (threads !== undefined && threads !== 1) {
    throw new InputError(`--threads: expected 1, got ${threads}`);
  }
  if (backend === "reference") return oracle;
  const build = backend === "relaxed" ? (await import("../relaxed.ts")).relaxed : deterministic;
  return kernels(await createRuntime({ kernels: build }));
}
