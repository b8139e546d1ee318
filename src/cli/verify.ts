/**
 * flashtile verify: computes case files and holds each expected output against its derived bound. One line a case,
 * then `N passed, N failed`. Exit code 2 if any input was unusable, else 1 if any case failed.
 */
import { SingleBar } from "cli-progress";
import { type Command, InvalidArgumentError } from "commander";
import { readSafetensors } from "../io/safetensors.ts";
import { OUTPUTS } from "../verify/case.ts";
import type { Backend, CaseReport } from "../verify/check.ts";
import type { Comparison } from "../verify/compare.ts";
import { verifyFile } from "../verify/index.ts";
import { backendOption, type BackendOptions, createBackend, precisionOption } from "./backends.ts";
import { type CasePath, casePaths, readBytes } from "./files.ts";
import { InputError, type Io, messageOf } from "./io.ts";

interface Options extends BackendOptions {
  readonly outputs?: ReadonlySet<string>;
  readonly json?: true;
}

export function addVerifyCommand(program: Command, io: Io, exit: (code: number) => void): void {
  program.command("verify")
    .summary("compare case files with their expected outputs, within derived error bounds")
    .description(
      "Compute case files and hold each expected output against an error bound derived for that very case.\n" +
        "A folder is searched for *.safetensors.",
    )
    .argument("<FILE|DIR...>", "case files, or folders of them")
    .addOption(backendOption())
    .addOption(precisionOption())
    .option("--threads <N>", "threads of the kernels (default: 1)", count)
    .option(
      "--outputs <LIST>",
      `compare only these of ${OUTPUTS.join(",")} (default: all; with --precision o,lse)`,
      outputList,
    )
    .option("--json", "print one JSON object instead")
    .action((paths: string[], options: Options) => verifyCommand(paths, options, io, exit));
}

async function verifyCommand(
  paths: readonly string[],
  options: Options,
  io: Io,
  exit: (code: number) => void,
): Promise<void> {
  const backend = await createBackend(options);
  const reports: CaseReport[] = [];
  const unusable: { name: string; error: string }[] = [];
  const refuse = (name: string, error: unknown) => {
    unusable.push({ name, error: messageOf(error) });
    progress.clear(() => io.stderr.write(`flashtile: ${messageOf(error)}\n`));
    exit(2);
  };
  const files: CasePath[] = [];
  const progress = new Progress(io);
  for (const path of paths) {
    try {
      files.push(...casePaths(path));
    } catch (error) {
      refuse(path, error);
    }
  }
  progress.start(files.length);
  for (const { path, name } of files) {
    try {
      const report = verifyPath(path, name, backend, options);
      reports.push(report);
      if (!report.ok) exit(1);
      if (!options.json) progress.clear(() => io.stdout.write(`${lineOf(report)}\n`));
    } catch (error) {
      refuse(path, error);
    }
    await progress.step();
  }
  progress.stop();
  const passed = reports.filter(({ ok }) => ok).length;
  const failed = reports.length - passed;
  if (options.json) {
    const cases = reports.map(({ name, path, outputs, ok, failure }) => ({
      ...{ name, path, outputs, ok },
      ...(failure !== undefined && { failure }),
    }));
    io.stdout.write(`${JSON.stringify({ cases, passed, failed, unusable }, spelled)}\n`);
  } else io.stdout.write(`${passed} passed, ${failed} failed\n`);
}

function verifyPath(path: string, name: string, backend: Backend, options: Options): CaseReport {
  const file = readSafetensors(readBytes(path), { name: path });
  try {
    return verifyFile(file, name, backend, { ...options, source: path });
  } catch (error) {
    throw withFile(path, error);
  }
}

/** The door names the field; only the readers name the file as well. */
function withFile(path: string, error: unknown): InputError {
  const message = messageOf(error);
  return new InputError(message.startsWith(`${path}: `) ? message : `${path}: ${message}`, { cause: error });
}

/** `ok name`, or `FAIL name output error/bound at [b,h,i,d] expected … got …` for the worst output. */
export function lineOf({ name, outputs, ok, failure }: CaseReport): string {
  if (ok) return `ok ${name}${Object.keys(outputs).length === 0 ? " (none of the outputs asked for)" : ""}`;
  const wrong = Object.entries(outputs).filter(([, { ok }]) => !ok).sort((a, b) => b[1].ratio - a[1].ratio);
  if (wrong.length === 0) return `FAIL ${name} ${failure}`;
  const [[output, worst], ...others] = wrong;
  const also = [...others.map(([other]) => other), ...(failure === undefined ? [] : [failure])];
  return `FAIL ${name} ${output} ${describeWorst(worst)}${
    also.length > 0 ? `; also ${also.join(", ")}` : ""
  }`;
}

export function describeWorst({ bound, at, expected, got }: Comparison): string {
  const error = Math.abs(got - expected);
  return `${short(error)}/${short(bound)} at [${at.join(",")}] expected ${expected} got ${got}`;
}

export function short(x: number): string {
  return Number.isFinite(x) ? x.toExponential(2) : String(x);
}

/** JSON has no ∞ and no NaN: they are spelled as in case files. */
export function spelled(_key: string, value: unknown): unknown {
  if (typeof value !== "number" || Number.isFinite(value)) return value;
  return value > 0 ? "inf" : value < 0 ? "-inf" : "nan";
}

export function count(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError(`expected an integer ≥ 1, got ${text}`);
  }
  return value;
}

function outputList(text: string): ReadonlySet<string> {
  const names = text.split(",").map((name) => name.trim()).filter((name) => name !== "");
  const unknown = names.find((name) => !(OUTPUTS as readonly string[]).includes(name));
  if (unknown !== undefined || names.length === 0) {
    throw new InvalidArgumentError(`expected some of ${OUTPUTS.join(",")}, got ${unknown ?? "none"}`);
  }
  return new Set(names);
}

/** A bar on stderr, if that is a terminal and the work has gone on for half a second. */
class Progress {
  readonly #io: Io;
  #bar: SingleBar | null = null;
  #started = 0;
  #total = 0;
  #done = 0;

  constructor(io: Io) {
    this.#io = io;
  }

  start(total: number): void {
    this.#total = total;
    this.#started = performance.now();
  }

  async step(): Promise<void> {
    this.#done++;
    if (!this.#io.stderr.isTTY) return;
    if (this.#bar === null && performance.now() - this.#started > 500) {
      this.#bar = new SingleBar({
        stream: this.#io.stderr as unknown as NodeJS.WritableStream,
        format: "{bar} {value}/{total}",
        clearOnComplete: true,
      });
      this.#bar.start(this.#total, this.#done);
    }
    this.#bar?.update(this.#done);
    // The bar draws on a timer, which needs a turn of the event loop.
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Writes where the bar stands; it is drawn again below. */
  clear(write: () => void): void {
    if (this.#bar !== null) this.#io.stderr.write("\r\x1b[K");
    write();
  }

  stop(): void {
    this.#bar?.stop();
  }
}
