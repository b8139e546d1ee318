/**
 * flashtile diff: two results of one case. Where they part (worst element, heads, rows, distribution), which of them
 * the oracle agrees with, and which well-known mistake would explain the other.
 */
import Table from "cli-table3";
import type { Command } from "commander";
import { readSafetensors } from "../io/safetensors.ts";
import { type OutputName, OUTPUTS } from "../verify/case.ts";
import {
  type CaseDiff,
  CLASSES,
  diffResults,
  type HeadDiff,
  type OutputDiff,
  type ResultTensors,
} from "../verify/diff.ts";
import { readBytes } from "./files.ts";
import { InputError, type Io } from "./io.ts";
import { named, openCase } from "./run.ts";
import { short, spelled } from "./verify.ts";

interface Options {
  readonly case: string;
  readonly json?: true;
}

/** Heads that are listed one by one. */
const LISTED = 12;

export function addDiffCommand(program: Command, io: Io, exit: (code: number) => void): void {
  program.command("diff")
    .summary("where two results of a case part, and why")
    .description(
      "Compare two results of one case, as `flashtile run` or another system wrote them: safetensors with\n" +
        `any of ${OUTPUTS.join(", ")}. Exit code 1 if they differ by more than the case allows.`,
    )
    .argument("<A>", "results")
    .argument("<B>", "other results")
    .requiredOption("--case <FILE>", "the case that they are results of")
    .option("--json", "print one JSON object instead")
    .action((a: string, b: string, options: Options) => diffCommand(a, b, options, io, exit));
}

function diffCommand(
  a: string,
  b: string,
  options: Options,
  io: Io,
  exit: (code: number) => void,
): void {
  const content = openCase(options.case);
  const [one, two] = [readResults(a), readResults(b)];
  let diff: CaseDiff;
  try {
    diff = diffResults(content, one, two);
  } catch (error) {
    throw named(options.case, error);
  }
  if (!diff.ok) exit(1);
  io.stdout.write(options.json ? `${JSON.stringify(diff, spelled)}\n` : `${textOf(diff)}\n`);
}

function readResults(path: string): ResultTensors {
  const { tensors } = readSafetensors(readBytes(path), { name: path });
  const known = OUTPUTS.filter((name) => tensors.has(name));
  if (known.length === 0) {
    throw new InputError(`${path}: expected a tensor named ${OUTPUTS.join(", ")}, got none`);
  }
  for (const name of known) {
    const { dtype } = tensors.get(name)!;
    if (!["float64", "float32", "float16", "bfloat16"].includes(dtype)) {
      throw new InputError(`${path}: ${name}: expected a floating dtype, got ${dtype}`);
    }
  }
  return new Map(known.map((name): [OutputName, NonNullable<ReturnType<typeof tensors.get>>] => [
    name,
    tensors.get(name)!,
  ]));
}

function textOf(diff: CaseDiff): string {
  const parts = [summary(diff.outputs)];
  for (const output of diff.outputs) if (!output.between.ok) parts.push(whereOf(output));
  parts.push(distribution(diff.outputs), verdict(diff));
  return parts.join("\n\n");
}

const PLAIN = { style: { head: [], border: [], compact: true } };

function summary(outputs: readonly OutputDiff[]): string {
  const table = new Table({
    ...PLAIN,
    head: ["output", "max |B−A|", "ulp", "worst error/bound", "at", "A", "B", "A off oracle", "B off oracle"],
  });
  for (const { output, between, a, b } of outputs) {
    table.push([
      output,
      short(between.maxAbs),
      short(between.maxUlp),
      `${short(between.ratio * between.bound)}/${short(between.bound)}`,
      `[${between.at.join(",")}]`,
      String(between.expected),
      String(between.got),
      `${short(a.maxAbs)} ${a.ok ? "ok" : "WRONG"}`,
      `${short(b.maxAbs)} ${b.ok ? "ok" : "WRONG"}`,
    ]);
  }
  return table.toString();
}

/** Which heads and rows are beyond the bound. */
function whereOf({ output, heads }: OutputDiff): string {
  const wrong = heads.filter(({ beyond }) => beyond > 0).sort((x, y) => y.ratio - x.ratio);
  const lines = wrong.slice(0, LISTED).map((head) =>
    `  [${head.at.join(",")}]  ${head.beyond} of ${head.elements} elements, up to ${
      short(head.ratio)
    } times the bound, ${rowsOf(head)}`
  );
  if (wrong.length > LISTED) lines.push(`  and ${wrong.length - LISTED} more`);
  return `${output}: beyond the bound in ${wrong.length} of ${heads.length} heads\n${lines.join("\n")}`;
}

/** Row numbers as ranges: rows 0–3, 7. */
function rowsOf({ rows }: HeadDiff): string {
  const ranges: [number, number][] = [];
  for (const row of rows) {
    const last = ranges.at(-1);
    if (last && row === last[1] + 1) last[1] = row;
    else ranges.push([row, row]);
  }
  const shown = ranges.slice(0, 6).map(([from, to]) => from === to ? String(from) : `${from}–${to}`);
  return `rows ${shown.join(", ")}${ranges.length > 6 ? ", …" : ""}`;
}

function distribution(outputs: readonly OutputDiff[]): string {
  const head = ["|B−A|/bound", "equal", ...CLASSES.slice(1).map((end) => `≤ ${end}`), `> ${CLASSES.at(-1)}`];
  const table = new Table({ ...PLAIN, head });
  for (const { output, histogram } of outputs) table.push([output, ...histogram.map(String)]);
  return table.toString();
}

function verdict({ ok, outputs, reasons }: CaseDiff): string {
  const lines: string[] = [];
  for (const side of ["a", "b"] as const) {
    const wrong = outputs.filter((output) => !output[side].ok).map(({ output }) => output);
    const name = side.toUpperCase();
    if (wrong.length === 0) lines.push(`${name} agrees with the oracle.`);
    else if (reasons[side].length === 0) {
      lines.push(`${name} is wrong in ${wrong.join(", ")}; no mistake I know explains it.`);
    } else lines.push(`${name} is wrong in ${wrong.join(", ")}, as if: ${reasons[side].join("; or ")}.`);
  }
  lines.push(
    ok ? "A and B agree within the bounds of this case." : "A and B differ by more than this case allows.",
  );
  return lines.join("\n");
}
