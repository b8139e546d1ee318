/** flashtile cases: seeded case files of many combinations of options, for any implementation to be tried on. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { seededCase } from "../verify/caseset.ts";
import { writeCase } from "../verify/writecase.ts";
import { reason } from "./files.ts";
import { InputError, type Io } from "./io.ts";
import { count } from "./verify.ts";

interface Options {
  readonly out: string;
  readonly seed: number;
  readonly count: number;
}

export function addCasesCommand(program: Command, io: Io): void {
  program.command("cases")
    .summary("write seeded case files of many option combinations")
    .description(
      "Write case files: random combinations of options with outputs and gradients of the float64 oracle.\n" +
        "The same seed writes the same bytes everywhere.",
    )
    .requiredOption("--out <DIR>", "folder to write to, made if it isn't there")
    .option("--seed <N>", "which set", seed, 1)
    .option("--count <N>", "how many", count, 100)
    .action((options: Options) => casesCommand(options, io));
}

function casesCommand({ out, seed, count }: Options, io: Io): void {
  try {
    mkdirSync(out, { recursive: true });
  } catch (error) {
    throw new InputError(`${out}: ${reason(error)}`);
  }
  for (let index = 0; index < count; index++) {
    const content = seededCase(seed, index);
    const path = join(out, `${content.name}.safetensors`);
    try {
      writeFileSync(path, writeCase(content));
    } catch (error) {
      throw error instanceof Error && "code" in error ? new InputError(`${path}: ${reason(error)}`) : error;
    }
  }
  io.stdout.write(`${count} cases → ${out}\n`);
}

function seed(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(value <= 0x7fffffff)) {
    throw new InvalidArgumentError(`expected an integer from 0 to 2^31 − 1, got ${text}`);
  }
  return value;
}
