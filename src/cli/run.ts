/** flashtile run: computes a case file and writes its outputs to another file, under the names of case files. */
import { writeFileSync } from "node:fs";
import type { Command } from "commander";
import { writeSafetensors } from "../io/safetensors.ts";
import type { FileTensor } from "../io/tensor.ts";
import { type Case, CaseFailure, inPrecision, OUTPUTS, readCase } from "../verify/case.ts";
import { type Backend, computeCase, type Results } from "../verify/check.ts";
import { backendOption, type BackendOptions, createBackend, precisionOption } from "./backends.ts";
import { readBytes, reason } from "./files.ts";
import { InputError, type Io } from "./io.ts";
import { count } from "./verify.ts";

interface Options extends BackendOptions {
  readonly out: string;
}

export function addRunCommand(program: Command, io: Io): void {
  program.command("run")
    .summary("compute a case file and write o, lse and gradients")
    .description(
      "Compute a case file and write o and lse, and the gradients where it has dout, as safetensors.",
    )
    .argument("<FILE>", "case file")
    .requiredOption("--out <FILE>", "where to write")
    .addOption(backendOption())
    .addOption(precisionOption())
    .option("--threads <N>", "threads of the kernels (default: 1)", count)
    .action((path: string, options: Options) => runCommand(path, options, io));
}

async function runCommand(path: string, options: Options, io: Io): Promise<void> {
  const backend = await createBackend(options);
  const content = inPrecision(openCase(path), options.precision);
  const results = computed(path, content, backend);
  if (results.failure !== undefined) io.stderr.write(`flashtile: ${path}: ${results.failure}\n`);
  const tensors = new Map<string, FileTensor>();
  for (const name of OUTPUTS) {
    const tensor = results.tensors.get(name);
    if (tensor) tensors.set(name, { ...tensor, shape: [...tensor.shape] });
  }
  const metadata = { x_backend: backend.name, x_path: results.path };
  try {
    writeFileSync(options.out, writeSafetensors({ metadata, tensors }));
  } catch (error) {
    throw new InputError(`${options.out}: ${reason(error)}`);
  }
  io.stdout.write(`${[...tensors.keys()].join(", ")} → ${options.out}\n`);
}

function computed(path: string, content: Case, backend: Backend): Results {
  try {
    return computeCase(content, backend);
  } catch (error) {
    throw named(path, error);
  }
}

/** @throws {InputError} The file is no case. */
export function openCase(path: string): Case {
  try {
    return readCase(readBytes(path), path);
  } catch (error) {
    throw error instanceof SyntaxError ? error : named(path, error);
  }
}

/** An error of the door or of a back end with the file in front; the readers name the file themselves. */
export function named(path: string, error: unknown): unknown {
  if (error instanceof TypeError || error instanceof RangeError || error instanceof CaseFailure) {
    return new InputError(`${path}: ${error.message}`);
  }
  return error;
}
