/** flashtile plan: the tiles for an attention on this core, and what each level of memory has to deliver. */
import Table from "cli-table3";
import { type Command, InvalidArgumentError } from "commander";
import { measureCaches } from "../ops/measurecaches.ts";
import { type Caches, type Plan, plan, type Shape } from "../plan/index.ts";
import { type IoModel, ioModel } from "../plan/iomodel.ts";
import { SMALL_CACHES } from "../plan/machine.ts";
import { InputError, type Io } from "./io.ts";

interface Options {
  readonly queries: number;
  readonly keys?: number;
  readonly dim: number;
  readonly valueDim?: number;
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads?: number;
  readonly causal?: true;
  readonly window?: readonly [number, number];
  readonly cache?: Caches;
  readonly json?: true;
}

/** Milliseconds that measuring the caches may take where other work disturbs it. */
const PATIENCE = 300;

export function addPlanCommand(program: Command, io: Io): void {
  program.command("plan")
    .summary("the tiles for an attention, and the bytes that each level of memory delivers")
    .description(
      "Print the tiles that the kernels would use, the bytes that each level of memory has to deliver, flops and\n" +
        "intensity. Caches are measured unless they are given. Causal and window are aligned bottom-right.",
    )
    .requiredOption("--queries <N>", "queries", positive)
    .option("--keys <M>", "keys (default: as many as queries)", positive)
    .requiredOption("--dim <D>", "width of a head of Q and K", positive)
    .option("--value-dim <E>", "width of a head of V (default: D)", positive)
    .option("--batch <B>", "sequences", positive, 1)
    .option("--heads <H>", "query heads", positive, 1)
    .option("--kv-heads <G>", "key/value heads (default: H)", positive)
    .option("--causal", "query i sees keys up to i + M − N")
    .option("--window <L,R>", "keys seen left and right of that, `open` for all", sides)
    .option("--cache <L1,L2>", "bytes of a core's data caches, as in 32KB,1MB", sizes)
    .option("--json", "print one JSON object instead")
    .action((options: Options) => planCommand(options, io));
}

function planCommand(options: Options, io: Io): void {
  const shape = shapeOf(options);
  const measured = options.cache ? null : measureCaches(undefined, PATIENCE);
  const caches = options.cache ?? measured ?? SMALL_CACHES;
  const source = options.cache ? "given" : measured ? "measured" : "assumed";
  const found = plan(shape, caches);
  const model = { l1: ioModel(shape, caches.l1 / 4), l2: ioModel(shape, caches.l2 / 4) };
  io.stdout.write(
    options.json
      ? `${JSON.stringify({ shape, source, ...found, model }, open)}\n`
      : `${textOf(shape, found, source, model)}\n`,
  );
}

function shapeOf(options: Options): Shape {
  const { queries: N, dim: D, batch: B, heads: H, causal, window = [Infinity, Infinity] } = options;
  const M = options.keys ?? N, G = options.kvHeads ?? H, E = options.valueDim ?? D;
  if (H % G !== 0) throw new InputError(`--kv-heads: expected a divisor of ${H} heads, got ${G}`);
  const [left, right] = window;
  return { B, H, G, N, M, D, E, left, right: causal ? 0 : right, offset: M - N };
}

const PLAIN = { style: { head: [], border: [], compact: true } };

function textOf(
  shape: Shape,
  found: Plan,
  source: string,
  model: Readonly<Record<"l1" | "l2", IoModel>>,
): string {
  const { B, H, G, N, M, D, E, left, right } = shape;
  const { tiles, caches, bytes, intensity, resident } = found;
  const seen = left < Infinity || (right > 0 && right < Infinity)
    ? `, window ${sideOf(left)},${sideOf(right)}`
    : right === 0
    ? ", causal"
    : "";
  const head = [
    `B=${B} H=${H} G=${G} N=${N} M=${M} D=${D} E=${E}${seen}`,
    `caches (${source}): L1 ${size(caches.l1)}, L2 ${size(caches.l2)}`,
    `${count(found.flops)} flops for ${count(found.pairs)} pairs (computed: ${
      count(found.computed)
    }), about ${time(found.seconds)}`,
  ];
  const levels = new Table({ ...PLAIN, head: ["level", "tile", "delivers", "flops/byte", "stays there"] });
  levels.push(
    ["L1 → registers", "4 × 8", size(bytes.registers), rate(intensity.registers), ""],
    ["L2 → L1", `${tiles.br} × ${tiles.bc}`, size(bytes.l1), rate(intensity.l1), stays(resident.l1)],
    [
      "memory → L2",
      `${tiles.chunkRows} × ${tiles.panelKeys}`,
      size(bytes.l2),
      rate(intensity.l2),
      stays(resident.l2),
    ],
  );
  const words = new Table({
    ...PLAIN,
    head: ["words, one head, no mask", `fast memory ${size(caches.l1)}`, size(caches.l2)],
  });
  for (
    const [name, key] of [["FlashAttention-1", "fa1"], ["FlashAttention-2", "fa2"], [
      "square tiles",
      "square",
    ]] as const
  ) {
    words.push([
      name,
      ...[model.l1, model.l2].map((m) => `${count(m[key].words)} (${m[key].br} × ${m[key].bc})`),
    ]);
  }
  words.push(["order of the bound", ...[model.l1, model.l2].map(({ bound }) => count(bound))]);
  return [head.join("\n"), levels.toString(), words.toString()].join("\n\n");
}

const open = (_: string, value: unknown) => value === Infinity ? "inf" : value;
const sideOf = (side: number) => side === Infinity ? "open" : String(side);
const rate = (x: number) => x.toPrecision(3);
const stays = (bytes: number) => bytes > 0 ? size(bytes) : "nothing";
const scaled = (x: number, step: number, units: readonly string[]) => {
  let unit = 0;
  for (; x >= step && unit < units.length - 1; unit++) x /= step;
  return `${Number(x.toPrecision(4))}${units[unit]}`;
};
const size = (bytes: number) => scaled(bytes, 1024, [" B", " KB", " MB", " GB", " TB", " PB"]);
const count = (n: number) => scaled(n, 1000, ["", " k", " M", " G", " T", " P", " E"]);
const time = (seconds: number) => scaled(seconds * 1e6, 1000, [" µs", " ms", " s"]);

function positive(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(value >= 1 && value <= 2 ** 30)) {
    throw new InvalidArgumentError(`expected an integer from 1 to 2^30, got ${text}`);
  }
  return value;
}

function sides(text: string): [number, number] {
  const parts = text.split(",").map((side) =>
    /^(open|-1)$/.test(side) ? Infinity : /^\d{1,10}$/.test(side) ? Number(side) : NaN
  );
  if (parts.length !== 2 || parts.some(Number.isNaN)) {
    throw new InvalidArgumentError(`expected two counts of keys or \`open\`, as in 255,0, got ${text}`);
  }
  return parts as [number, number];
}

function sizes(text: string): Caches {
  const [l1, l2, ...more] = text.split(",").map((part) => {
    const match = /^(\d{1,12}(?:\.\d+)?)\s*(?:([KMG])(?:i?B)?|B)?$/i.exec(part.trim());
    const unit = match?.[2] ? 1024 ** (1 + "KMG".indexOf(match[2].toUpperCase())) : 1;
    return match ? Math.floor(Number(match[1]) * unit) : NaN;
  });
  if (more.length > 0 || !(l1 >= 1024 && l2 >= l1 && l2 <= 2 ** 40)) {
    throw new InvalidArgumentError(
      `expected L1,L2 of 1 KB or more with L1 ≤ L2, as in 32KB,1MB, got ${text}`,
    );
  }
  return { l1, l2 };
}
