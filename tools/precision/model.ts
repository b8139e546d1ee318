/**
 * docs/precision-model.md: bits per byte of the shipped model on text it has never seen, every attention of every
 * layer in one precision. What the kernels compute is measured on them, the rest on the oracle, which is slow: on less
 * text.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { readSafetensors } from "../../src/io/safetensors.ts";
import { calibrateModel } from "../../src/model/calibrate.ts";
import { parseConfig } from "../../src/model/config.ts";
import type { ImplementationName } from "../../src/model/implementation.ts";
import { createImplementation } from "../../src/model/implementations.ts";
import { LanguageModel } from "../../src/model/languagemodel.ts";
import { bitsPerByte } from "../../src/model/score.ts";
import { readWeights } from "../../src/model/weights.ts";
import { type Precision, type Recipe, sage } from "../../src/precision.ts";
import { precisionName, recipes } from "../../src/recipes.ts";

const config = parseConfig(readFileSync("models/moby/config.json", "utf8"));
const weights = readWeights(
  readSafetensors(new Uint8Array(readFileSync("models/moby/model.safetensors"))).tensors,
  config,
);
const heldOut = new Uint8Array(readFileSync("models/moby/heldout-moby.txt"));

/** Bytes read at once; the next byte is predicted after each. */
const WINDOW = 1024;
const WINDOWS = 16;

type Mode = readonly [name: string, precision: Precision];

/** A recipe with its smoothing, and with each part of it off. */
function variants(name: string, recipe: Recipe): Mode[] {
  const { smoothK, smoothV } = recipe;
  const modes: Mode[] = [[`**${name}**`, recipe]];
  if (smoothK) modes.push([`${name} − K`, { ...recipe, smoothK: false }]);
  if (smoothV) {
    modes.push([`${name} − V`, { ...recipe, smoothV: false }]);
    modes.push([`${name} − K − V`, { ...recipe, smoothK: false, smoothV: false }]);
  }
  return modes;
}

const onKernels: Mode[] = [
  ["**float32**", "float32"],
  ["int16", { ...recipes.int12, qk: "int16", pv: "int16" }],
  ...variants("int12", recipes.int12),
  ...variants("int8", recipes.int8),
  ...variants("int8, P and V int8", { ...recipes.int8, pv: "int8" }),
  ...variants("int7, P and V int12", { ...recipes.int8, qk: "int7" }),
  ...variants("int7, P and V int7", { ...recipes.int8, qk: "int7", pv: "int7" }),
  ...variants("int4, P and V int12", { ...recipes.int8, qk: "int4" }),
  ...variants("int4, P and V int8", { ...recipes.int8, qk: "int4", pv: "int8" }),
];

const onOracle: Mode[] = [
  ["**float64**", "float32"],
  ["**int12**", "int12"],
  ["**int8**", "int8"],
  ...(["sage1", "sage2", "sage2++", "sage2-4b", "sage3"] as const).map((name): Mode => [name, recipes[name]]),
  ["sage2 + V", sage({ smoothV: true })],
  ["sage2-4b − Q", sage({ qk: "int4", smoothQ: false })],
  ["sage2-4b − Q − K", sage({ qk: "int4", smoothQ: false, smoothK: false })],
];

/** Bits per byte of each of the first windows. */
function measure(backend: ImplementationName, precision: Precision, windows: number): number[] {
  const ops = createImplementation(backend);
  const model = LanguageModel.load({ config, weights }, ops, { maxTokens: WINDOW, precision });
  const bits = Array.from({ length: windows }, (_, n) => {
    model.reset();
    const text = heldOut.subarray(n * WINDOW, (n + 1) * WINDOW);
    return bitsPerByte(model.prefill(text, "all"), heldOut.subarray(n * WINDOW + 1, (n + 1) * WINDOW + 1));
  });
  model.close();
  return bits;
}

const mean = (xs: readonly number[]) => xs.reduce((sum, x) => sum + x, 0) / xs.length;
/** Standard error of the mean. */
function errorOf(xs: readonly number[]): number {
  const m = mean(xs);
  return Math.sqrt(xs.reduce((sum, x) => sum + (x - m) ** 2, 0) / (xs.length - 1) / xs.length);
}
const signed = (x: number) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(5)}`;

/** A table, and what each mode costs more than the first. */
function compared(backend: ImplementationName, modes: readonly Mode[], windows: number) {
  const costs = new Map<string, number>();
  /** Standard deviation of the difference, window to window. */
  const spread = new Map<string, number>();
  const lines = [
    `|  | bits per byte | more than ${modes[0][0].replaceAll("*", "")} |${windows > 1 ? " ± |" : ""}`,
    `| --- | --- | --- |${windows > 1 ? " --- |" : ""}`,
  ];
  let first: number[] = [];
  for (const [name, precision] of modes) {
    const bits = measure(backend, precision, windows);
    if (first.length === 0) first = bits;
    const more = bits.map((x, n) => x - first[n]);
    costs.set(name.replaceAll("*", ""), mean(more));
    if (windows > 1) spread.set(name.replaceAll("*", ""), errorOf(more) * Math.sqrt(windows));
    const cells = [name, mean(bits).toFixed(5), bits === first ? "–" : signed(mean(more))];
    if (windows > 1) cells.push(bits === first ? "–" : errorOf(more).toFixed(5));
    lines.push(`| ${cells.join(" | ")} |`);
    process.stderr.write(`${backend} ${cells.join(" ")}\n`);
  }
  return { table: lines.join("\n"), costs, spread };
}

async function calibrated(): Promise<string> {
  const prompt = heldOut.subarray(0, WINDOW);
  const { layers } = await calibrateModel({ config, weights }, createImplementation("deterministic"), prompt);
  const header = [
    "layer",
    "chosen",
    ...layers[0].measured.map((m) => `cosine of ${precisionName(m.precision)}`),
  ];
  const rows = layers.map(({ layer, precision, measured }) => [
    ...[`${layer}`, precisionName(precision)],
    ...measured.map(({ cosine }) => `${(100 * cosine).toFixed(4)} %`),
  ]);
  return [header, header.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

const kernels = compared("deterministic", onKernels, WINDOWS);
const target = (name: string, most: number) => {
  const cost = kernels.costs.get(name)!;
  return `| ${name} | within ${most} of float32 | ${signed(cost)} | ${
    Math.abs(cost) <= most ? "yes" : "**no**"
  } |`;
};
const spread = (name: string) => kernels.spread.get(name)!.toFixed(4);
const targets = [target("int12", 0.001), target("int8", 0.005)].join("\n");
const plan = await calibrated();
const oracle = compared("reference", onOracle, 1);

writeFileSync(
  "docs/precision-model.md",
  `# Precision, end to end

Made by \`npm run docs:precision-model\`. What quantised attention costs a language model: bits per byte of the model in
\`models/moby\` (byte-level Llama, ${config.layers} layers, ${config.heads} query and ${config.kvHeads} key/value heads, D = ${config.headDim}) on text it has never seen,
the attention of every layer in one precision. Weights, projections, norms and the KV cache stay float32; text is read
${WINDOW} bytes at a time, so that every attention is a prompt's. \`− K\`, \`− V\`, \`− Q\`: without that smoothing, \`+ V\`: with it.

A token at a time (decoding) is attended in float32 whatever the precision: it reads each key and value once, and
quantising them first would read them once more.

| | target | measured | reached |
| --- | --- | --- | --- |
${targets}

## Kernels

The deterministic build, ${WINDOWS} windows of ${WINDOW} bytes. ± is the standard error of the mean difference over the windows:
what is not several times as large is noise.

${kernels.table}

## Oracle

What the kernels don't have, in float64 but for what a recipe rounds; the first window alone. From window to window the
differences above vary by ${spread("int8")} with int8 and by ${
    spread("int4, P and V int12")
  } with int4 scores (one standard deviation), so that one
window doesn't rank the 4-bit rows among each other.

${oracle.table}

## What \`--precision auto\` chooses

The first window as the prompt, the kernels measured, rule of SageAttention: the first of int8, int12 whose cosine
similarity to exact attention is above 99.8 %, float32 if none is.

${plan}
`,
);
