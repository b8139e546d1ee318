/**
 * flashtile generate: the language model continues a text, and its attention is checked against the oracle on the
 * very queries, keys and values of this text. Exit code 1 if an error exceeds its bound.
 */
import Table from "cli-table3";
import { SingleBar } from "cli-progress";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type AttentionCheck, checkAttention } from "../model/check.ts";
import { contextFor, generate, type Generation } from "../model/generate.ts";
import { createImplementation } from "../model/implementations.ts";
import type { ImplementationName } from "../model/implementation.ts";
import { LanguageModel, type LoadOptions } from "../model/languagemodel.ts";
import { createSampler } from "../model/sampler.ts";
import { decode } from "../model/text.ts";
import { AttentionTrace } from "../model/trace.ts";
import { backendOption } from "./backends.ts";
import { InputError, type Io } from "./io.ts";
import { findModel, readConfig, readModel } from "./modelfolder.ts";
import { precisionName } from "../recipes.ts";
import type { Calibration } from "../calibrate/calibration.ts";
import { type Asked, describePlan, makePlan, type Plan, planOption } from "./plan.ts";
import { DEFAULT_PROMPT, readPrompt } from "./prompt.ts";
import { short, spelled } from "./verify.ts";

interface Options {
  prompt?: string;
  heldOut?: number;
  tokens: number;
  temperature: number;
  topK?: number;
  seed: number;
  model?: string;
  backend: ImplementationName;
  precision: Asked;
  json?: true;
}

/** What is printed at the end, and with --json all there is. */
interface Report {
  text: string;
  tokens: number;
  promptTokens: number;
  backend: ImplementationName;
  /** Of each layer's attention, where the prompt is read. */
  precision: string[];
  /** A token at a time is read in float32 whatever `precision` is, from a float32 cache. */
  decodePrecision: "float32" | "float64";
  /** With --precision auto or a calibration: what was measured and chosen. */
  calibration?: Calibration;
  prefillTokensPerSecond: number;
  decodeTokensPerSecond: number;
  kvBytes: number;
  maxAttentionError: number;
  attentionErrorBound: number;
  attentionErrorRatio: number;
  kernels: string[];
}

export function addGenerateCommand(program: Command, io: Io, exit: (code: number) => void): void {
  program.command("generate")
    .summary("let the shipped language model continue a text, its attention checked against the oracle")
    .description(
      "Let a byte-level Llama continue a text, then hold the attention of every layer, head and token of this very\n" +
        "text against the float64 oracle, within error bounds derived for it.",
    )
    .option(
      "--prompt <TEXT>",
      `text to continue, - for standard input (default: ${JSON.stringify(DEFAULT_PROMPT)})`,
    )
    .addOption(
      new Option("--held-out <BYTES>", "continue the first BYTES of the model's held-out text").conflicts(
        "prompt",
      )
        .argParser(integer(1)),
    )
    .option("--tokens <N>", "bytes to write", integer(1), 256)
    .option("--temperature <T>", "0 takes the likeliest byte, more is bolder", number(0), 0.6)
    .option("--top-k <K>", "draw among the K likeliest bytes", integer(1))
    .option("--seed <S>", "the same seed writes the same text", integer(Number.MIN_SAFE_INTEGER), 1)
    .option("--model <DIR>", "folder of a byte-level Llama: config.json, model.safetensors")
    .addOption(backendOption())
    .addOption(planOption())
    .option("--json", "print one JSON object instead")
    .action((options: Options) => generateCommand(options, io, exit));
}

async function generateCommand(options: Options, io: Io, exit: (code: number) => void): Promise<void> {
  const folder = findModel(options.model);
  const config = readConfig(folder);
  const prompt = await readPrompt({ prompt: options.prompt, heldOut: options.heldOut, folder }, io.stdin);
  const maxTokens = contextFor(config, prompt.length, options.tokens);
  const sample = createSampler(options);
  const weights = readModel(folder, config);
  const given = { config, weights };
  const plan = await makePlan(options.precision, given, options.backend, prompt);
  const model = loadModel(given, options.backend, { maxTokens, precision: plan.precision });
  try {
    const trace = new AttentionTrace();
    model.observer = trace.observe;
    const show = options.json ? undefined : (text: string) => void io.stdout.write(text);
    show?.(io.stdout.isTTY ? `\x1b[2m${decode(prompt)}\x1b[22m` : decode(prompt));
    const generation = generate(model, prompt, {
      count: options.tokens,
      sample,
      ...(show && { emit: show }),
    });
    show?.("\n");
    const check = checked(model, trace, io);
    const report = reportOf(options.backend, plan, model, generation, check);
    io.stdout.write(
      options.json ? `${JSON.stringify(report, spelled)}\n` : `\n${tableOf(report, plan, check)}\n`,
    );
    if (check.ratio > 1 || Number.isNaN(check.ratio)) {
      io.stderr.write(
        `flashtile: attention: expected errors within the bound, got ${check.maxAbs} at ${check.at}\n`,
      );
      exit(1);
    }
  } finally {
    model.close();
  }
}

/** What the back end lacks is a fault of --precision. */
function loadModel(
  given: Parameters<typeof LanguageModel.load>[0],
  backend: ImplementationName,
  options: LoadOptions,
): LanguageModel {
  const ops = createImplementation(backend);
  try {
    return LanguageModel.load(given, ops, options);
  } catch (error) {
    if (!(error instanceof RangeError) || !error.message.startsWith("precision")) throw error;
    throw new InputError(`--${error.message}`, { cause: error });
  }
}

/** The check, with a bar on stderr if that is a terminal. */
function checked(model: LanguageModel, trace: AttentionTrace, io: Io): AttentionCheck {
  if (!io.stderr.isTTY) return checkAttention(model, trace);
  const bar = new SingleBar({
    stream: io.stderr as unknown as NodeJS.WritableStream,
    format: "checking attention against the oracle {bar} {percentage} %",
    clearOnComplete: true,
  });
  bar.start(100, 0);
  try {
    return checkAttention(model, trace, { progress: (done) => bar.update(Math.round(100 * done)) });
  } finally {
    bar.stop();
  }
}

function reportOf(
  backend: ImplementationName,
  { precision, calibration }: Plan,
  model: LanguageModel,
  { text, tokens, promptTokens, steps, prefillSeconds, decodeSeconds }: Generation,
  { maxAbs, bound, ratio }: AttentionCheck,
): Report {
  return {
    text,
    tokens: tokens.length,
    promptTokens,
    backend,
    precision: precision.map(precisionName),
    decodePrecision: backend === "reference" ? "float64" : "float32",
    ...(calibration && { calibration }),
    prefillTokensPerSecond: rate(promptTokens, prefillSeconds),
    decodeTokensPerSecond: rate(steps, decodeSeconds),
    kvBytes: model.cacheBytes,
    maxAttentionError: maxAbs,
    attentionErrorBound: bound,
    attentionErrorRatio: ratio,
    kernels: model.kernels,
  };
}

function tableOf(report: Report, plan: Plan, check: AttentionCheck): string {
  const table = new Table({
    style: { head: [], border: [], compact: true },
    wordWrap: true,
    colWidths: [17, 83],
  });
  const { maxAttentionError, attentionErrorBound, attentionErrorRatio } = report;
  table.push(
    ["back end", `${report.backend}: ${report.kernels.join(", ")}`],
    ...(plan.precision.some((one) => one !== "float32") || plan.calibration
      ? precisionRows(plan, report)
      : []),
    ["prefill", `${report.promptTokens} tokens, ${count(report.prefillTokensPerSecond)} tokens/s`],
    ["decode", `${report.tokens} tokens, ${count(report.decodeTokensPerSecond)} tokens/s`],
    ["KV cache", `${count(report.kvBytes)} bytes`],
    [
      "attention error",
      `${short(maxAttentionError)} at most against the float64 oracle, where the bound is ${
        short(attentionErrorBound)
      }`,
    ],
    [
      "of its bound",
      `${(100 * attentionErrorRatio).toFixed(1)} % at most, in ${count(check.bounded)} of ${
        count(check.rows)
      } ` +
      "rows (token, layer, head)",
    ],
  );
  return table.toString();
}

function precisionRows(plan: Plan, { decodePrecision }: Report): string[][] {
  const rows = [["precision", `${describePlan(plan)}, for the prompt; ${decodePrecision} a token at a time`]];
  if (plan.calibration) {
    const lines = plan.calibration.layers.map(({ layer, precision, measured }) => {
      const cosines = measured.map((one) =>
        `${precisionName(one.precision)} ${(100 * one.cosine).toFixed(4)} %`
      );
      return `layer ${layer}: ${precisionName(precision)} (cosine: ${cosines.join(", ")})`;
    });
    rows.push(["calibration", lines.join("\n")]);
  }
  return rows;
}

function rate(count: number, seconds: number): number {
  return count === 0 ? 0 : count / seconds;
}

function count(x: number): string {
  return Math.round(x).toLocaleString("en");
}

function number(least: number): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? NaN : Number(text);
    if (!Number.isFinite(value) || value < least) {
      throw new InvalidArgumentError(`expected a number ≥ ${least}, got ${JSON.stringify(text)}`);
    }
    return value;
  };
}

function integer(least: number): (text: string) => number {
  return (text) => {
    const value = /^[+-]?\d+$/.test(text.trim()) ? Number(text) : NaN;
    if (!Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`expected an integer ≥ ${least}, got ${JSON.stringify(text)}`);
    }
    return value;
  };
}
