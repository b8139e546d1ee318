/** docs/precision.md: what every precision costs in accuracy, measured on the oracle. */
import { writeFileSync } from "node:fs";
import { type Recipe, sage, type SageOptions } from "../../src/precision.ts";
import { type PrecisionName, recipes } from "../../src/recipes.ts";
import { bitsPerByteOf } from "./bits.ts";
import { channelBias, moby, type Sample, synthetic } from "./data.ts";
import { measure, type Measurement } from "./measure.ts";
import { page, type Sections, table } from "./page.ts";

const started = performance.now();
const note = (text: string) =>
  process.stderr.write(`${((performance.now() - started) / 1000).toFixed(0)} s ${text}\n`);

const named = Object.entries(recipes).filter((entry): entry is [PrecisionName, Recipe] => entry[1] !== null);

/** A recipe as it is, and with each smoothing the other way round. */
function variants(name: string, recipe: Recipe): [string, Recipe][] {
  const { smoothK, smoothQ, smoothV } = recipe;
  const sign = (on: unknown) => on ? "−" : "+";
  return [
    [`**${name}**`, recipe],
    [`${name} ${sign(smoothK)} K`, { ...recipe, smoothK: !smoothK }],
    [`${name} ${sign(smoothQ)} Q`, { ...recipe, smoothQ: smoothQ ? false : "block" }],
    [`${name} ${sign(smoothV)} V`, { ...recipe, smoothV: !smoothV }],
  ];
}

const percent = (x: number) => `${(100 * x).toFixed(4)} %`;
const short = (x: number) => x.toExponential(1).replace("e", "·10^").replace("+", "").replace("-", "−");

/** Everything measured on a sample, by name. */
function modes(sample: Sample): Map<string, Measurement> {
  const all = named.flatMap(([name, recipe]) => variants(name, recipe));
  const measured = new Map([...all, ...extra].map(([name, recipe]) => [name, measure(sample, recipe, true)]));
  note(sample.name);
  return measured;
}

function rowsOf(measured: Map<string, Measurement>): string {
  const rows = [...measured].map(([name, m]) => [
    ...[name, percent(m.cosine), short(m.relativeL1), short(m.rmse), short(m.relativeMax)],
    m.ofBound!.toFixed(3),
  ]);
  return table(["", "cosine", "relative L1", "RMSE", "max error / max \\|V\\|", "worst / bound"], rows);
}

/** What a CPU could have beside the named ones. */
const extra: [string, Recipe][] = [
  ["int16 (all the bits of 32-bit sums)", { ...recipes.int12, qk: "int16", pv: "int16" }],
  ["int8, P and V int8", { ...recipes.int8, pv: "int8" }],
  ["int7, P and V int12", { ...recipes.int8, qk: "int7" }],
  ["int7, P and V int7", { ...recipes.int8, qk: "int7", pv: "int7" }],
  ["int8, P and V E4M3", sage({ ...recipes.int8, pv: "fp8" })],
  ["int8, P float32, V E4M3", sage({ ...recipes.int8, pv: "float32/fp8" })],
  ["int4, P and V int12", { ...recipes.int8, qk: "int4" }],
  ["int4, P float32, V E4M3", sage({ ...recipes.int8, qk: "int4", pv: "float32/fp8" })],
];

const mean = (xs: readonly number[]) => xs.reduce((sum, x) => sum + x, 0) / xs.length;
const rounded = (m: { cosine: number; relativeL1: number; rmse: number }) =>
  `${(100 * m.cosine).toFixed(2)} / ${m.relativeL1.toFixed(3)} / ${m.rmse.toFixed(3)}`;

function int4(
  samples: readonly Sample[],
  layers: readonly Sample[],
  rows: [string, string, SageOptions][],
): string {
  const lines = rows.map(([name, paper, options]) => {
    const recipe = sage({ qk: "int4", pv: "fp16", accumulator: "float32", ...options });
    const all = layers.map((sample) => measure(sample, recipe));
    const average = {
      cosine: mean(all.map(({ cosine }) => cosine)),
      relativeL1: mean(all.map(({ relativeL1 }) => relativeL1)),
      rmse: mean(all.map(({ rmse }) => rmse)),
    };
    note(`int4 ${name}`);
    return [name, paper, rounded(average), ...samples.map((sample) => rounded(measure(sample, recipe)))];
  });
  return table(["", "paper", "moby, mean of layers", ...samples.map(({ name }) => name)], lines);
}

const few = [...synthetic(128), ...moby(128)];
const many = new Map(synthetic(512).map((sample) => [sample.name, sample]));
const some = ["Gaussian", "K biased 8×", "Q and K biased", "sink, 8192 keys"].map((name) => many.get(name)!);
const layers = moby(512);

const BYTES = 1024;
const exact = bitsPerByteOf("float32", BYTES);
const bits = [["float32", exact.toFixed(5), "–"]];
for (const [name, recipe] of named.flatMap(([name, recipe]) => variants(name, recipe).slice(0, 2))) {
  const got = bitsPerByteOf(recipe, BYTES);
  bits.push([name, got.toFixed(5), `${got < exact ? "−" : "+"}${Math.abs(got - exact).toFixed(5)}`]);
  note(`bits per byte, ${name}`);
}

const measured = few.map((sample) => ({ sample, modes: modes(sample) }));
const glance = [...named.map(([name]) => `**${name}**`), ...extra.map(([name]) => name)].map((name) => {
  const all = measured.map(({ modes }) => modes.get(name)!);
  const own = measured.filter(({ sample }) => sample.name.startsWith("moby")).map(({ modes }) =>
    modes.get(name)!
  );
  const most = (f: (m: Measurement) => number) => Math.max(...all.map(f));
  return [
    name,
    percent(mean(own.map(({ cosine }) => cosine))),
    percent(Math.min(...all.map(({ cosine }) => cosine))),
    short(most(({ relativeMax }) => relativeMax)),
    most(({ ofBound }) => ofBound!).toFixed(3),
  ];
});

const sections: Sections = {
  bytes: BYTES,
  bits: table(["", "bits per byte", "more than float32"], bits),
  glance: table(
    ["", "cosine, moby", "worst cosine", "worst max error / max \\|V\\|", "worst / bound"],
    glance,
  ),
  data: measured.map(({ sample, modes }) => {
    const bnhd = sample.options.layout === "bnhd";
    const bias = [sample.q, sample.k, sample.v].map((x) => channelBias(x, bnhd).toFixed(2));
    return { name: sample.name, about: sample.about, bias: bias.join(", "), table: rowsOf(modes) };
  }),
  granularity: int4(some, layers, [
    ["per token", "99.45 / 0.065 / 0.034", { granularity: "token" }],
    ["per thread", "99.45 / 0.062 / 0.031", { granularity: "thread" }],
    ["per warp", "", { granularity: "warp" }],
    ["per block", "98.03 / 0.149 / 0.074", { granularity: "block" }],
    ["per tensor", "97.15 / 0.180 / 0.087", { granularity: "tensor" }],
  ]),
  smoothing: int4(some, layers, [
    ["none", "80.0 / 0.39", { smoothK: false, smoothQ: false }],
    ["K", "≈ 90 / 0.34", { smoothQ: false }],
    ["Q", "≈ 93 / 0.27", { smoothK: false }],
    ["Q and K", "99.46 / 0.065", {}],
  ]),
  values: int4(some, layers, [
    ["int8", "77 / 0.56", { pv: "int8" }],
    ["int8, P's scale by tile", "", { pv: "int8", pScale: "tile" }],
    ["E5M2", "99.2 / 0.09", { pv: "fp8e5m2" }],
    ["E4M3", "99.44 / 0.068", { pv: "fp8" }],
    ["V E4M3, P float32", "", { pv: "float32/fp8" }],
    ["int12", "", { pv: "int12" }],
    ["int12, P's scale by tile", "", { pv: "int12", pScale: "tile" }],
    ["float16", "99.45 / 0.065", { pv: "fp16" }],
  ]),
};
writeFileSync("docs/precision.md", page(sections));
note("docs/precision.md");
