/**
 * `npm run bench:sweep [-- [--raw] [pattern]]`: the planner's tiles against every other choice.
 *
 * For each problem every (br, chunkRows, panelKeys) of a grid is timed in turn, round after round (A B C … A B C …),
 * and judged by its minimum; equal choices count once. The smallest of hundreds of noisy minima flatters itself, so
 * the fastest few meet the planner's choice once more, turn by turn: what counts is the median of the quotients of
 * neighbours in time, which a neighbour on the machine slows alike. The pattern picks
 * problems by what is printed of them, "#7 " the eighth. `--raw` prints one JSON object a problem instead, with all
 * minima in milliseconds.
 */
import { forward } from "../src/ops/forward.ts";
import type { AttentionOptions } from "../src/options.ts";
import { cost, type Tiles } from "../src/plan/cost.ts";
import { SMALL_CACHES } from "../src/plan/machine.ts";
import { shapeOf } from "../src/plan/shape.ts";
import { chooseTiles } from "../src/plan/tiles.ts";
import { createProblem, type Problem } from "../src/problem.ts";
import { deterministic } from "../src/wasm/deterministic.ts";
import { instantiate } from "../src/wasm/load.ts";
import { gaussian } from "./inputs.ts";

/** H G N M D E, and options. */
type Row = readonly [number, number, number, number, number, number, AttentionOptions?];

const CAUSAL = { causal: true };
const window = (left: number, right: number): AttentionOptions => ({ window: [left, right] });
const PROBLEMS: readonly Row[] = [
  [2, 2, 17, 17, 16, 16],
  [4, 4, 64, 64, 32, 32],
  [4, 4, 128, 128, 64, 64],
  [8, 8, 200, 200, 40, 40],
  [8, 8, 256, 256, 64, 64],
  [12, 12, 512, 512, 64, 64],
  [4, 4, 1024, 1024, 32, 32],
  [2, 2, 1024, 1024, 64, 64],
  [2, 2, 1024, 1024, 80, 80],
  [2, 2, 1000, 1000, 96, 96],
  [2, 2, 1024, 1024, 128, 128],
  [2, 2, 777, 777, 192, 192],
  [1, 1, 1024, 1024, 256, 256],
  [1, 1, 512, 512, 512, 512],
  [2, 2, 1500, 1500, 64, 64],
  [1, 1, 2048, 2048, 64, 64],
  [1, 1, 3072, 3072, 64, 64],
  [1, 1, 2048, 2048, 128, 128],
  [2, 2, 1024, 1024, 64, 128],
  [2, 2, 1024, 1024, 192, 128],
  [2, 2, 1024, 1024, 16, 256],
  [8, 2, 256, 1024, 64, 64],
  [8, 1, 128, 2048, 64, 64],
  [32, 8, 64, 512, 128, 128],
  [16, 4, 512, 512, 64, 64, CAUSAL],
  [8, 8, 64, 4096, 64, 64],
  [1, 1, 16, 16384, 64, 64],
  [8, 1, 1, 8192, 128, 128],
  [2, 2, 4096, 77, 40, 40],
  [1, 1, 16384, 64, 64, 64],
  [4, 4, 1024, 1024, 64, 64, CAUSAL],
  [1, 1, 4096, 4096, 32, 32, CAUSAL],
  [2, 2, 1024, 1024, 128, 128, CAUSAL],
  [2, 2, 256, 2048, 64, 64, CAUSAL],
  [1, 1, 512, 4096, 128, 128, CAUSAL],
  [1, 1, 8192, 8192, 64, 64, window(255, 0)],
  [1, 1, 4096, 4096, 128, 128, window(511, 0)],
  [2, 2, 2048, 2048, 64, 64, window(128, 128)],
  [4, 1, 2048, 2048, 64, 64, window(127, 0)],
];

const GRID = {
  br: [4, 8, 16, 32, 64, 128, 256],
  chunkRows: [64, 128, 256, 512, 1024, 2048],
  panelKeys: [128, 256, 512, 1024, 2048, 4096],
};
/** What would do for all: the tiles before there was a planner. */
const oneSize = ({ N, M, D, E, group }: Problem): Tiles => ({
  br: Math.min(64, Math.ceil(N * group / 4) * 4),
  chunkRows: Math.min(512, Math.ceil(N * group / 4) * 4),
  panelKeys: Math.min(4096, Math.floor(1.5 * 2 ** 18 / (D + E) / 64) * 64, Math.ceil(M / 64) * 64),
});
/** Words a panel and a chunk of the grid may take together: 4 MiB. */
const MEMORY = 2 ** 20;
/** Seconds for all rounds of one problem, and for the last few choices; rounds. */
const BUDGET = 4;
const DUEL = 5;
const ROUNDS = { least: 2, sweep: 9, duel: 15, most: 300 };

const engine = instantiate(deterministic);

interface Timed {
  readonly tiles: Tiles;
  min: number;
  /** Of each round. */
  readonly times: number[];
}

const timed = (tiles: Tiles): Timed => ({ tiles, min: Infinity, times: [] });

function problemOf([H, G, N, M, D, E, options]: Row): Problem {
  const tensor = (heads: number, rows: number, width: number, seed: number) => ({
    data: gaussian(heads * rows * width, seed),
    shape: [1, heads, rows, width],
  });
  return createProblem(tensor(H, N, D, 1), tensor(G, M, D, 2), tensor(G, M, E, 3), options);
}

/** The grid without choices that come to the same (all rows, all keys, a block as tall as the chunk) or to `chosen`. */
function grid({ N, M, D, E, group }: Problem, chosen: Tiles): Tiles[] {
  const rows = Math.ceil(N * group / 4) * 4, keys = Math.ceil(M / 64) * 64;
  const choices = new Map<string, Tiles>();
  for (const wide of [...GRID.panelKeys, keys]) {
    for (const tall of GRID.chunkRows) {
      for (const block of GRID.br) {
        const panelKeys = Math.min(wide, keys), chunkRows = Math.min(tall, rows);
        const tiles = { br: Math.min(block, chunkRows), chunkRows, panelKeys };
        if ((panelKeys + chunkRows) * (D + E) <= MEMORY) choices.set(Object.values(tiles).join(), tiles);
      }
    }
  }
  choices.delete(Object.values(chosen).join());
  return [...choices.values()];
}

/** Milliseconds of a call, of `repeat` in a row: of the processor, for on a shared machine the wall clock runs on. */
function time(problem: Problem, tiles: Tiles, repeat: number): number {
  const start = process.cpuUsage();
  for (let n = 0; n < repeat; n++) forward(engine, problem, tiles);
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1e3 / repeat;
}

function rounds(problem: Problem, all: readonly Timed[], count: number, repeat: number): void {
  for (let round = 0; round < count; round++) {
    // Each round starts elsewhere, so that nobody is always first.
    const start = Math.floor(round * all.length / count);
    for (const each of [...all.slice(start), ...all.slice(0, start)]) {
      each.times.push(time(problem, each.tiles, repeat));
      each.min = Math.min(each.min, each.times[round]);
    }
  }
}

/** How much longer `a` takes than `b`, in the median of the rounds they share. */
function slower(a: Timed, b: Timed): number {
  const quotients = a.times.map((t, round) => t / b.times[round]).sort((x, y) => x - y);
  const middle = quotients.length >> 1;
  return (quotients.length % 2 ? quotients[middle] : (quotients[middle - 1] + quotients[middle]) / 2) - 1;
}

const say = ({ br, chunkRows, panelKeys }: Tiles) => `${br} × ${chunkRows} × ${panelKeys}`;
const flags = process.argv.slice(2);
const raw = flags.includes("--raw");
const pattern = flags.find((flag) => !flag.startsWith("--")) ?? "";
let near = 0, count = 0;
for (const [x, row] of PROBLEMS.entries()) {
  const [H, G, N, M, D, E, options = {}] = row;
  const name = `#${x} ${H}:${G} ${N}×${M} ${D}:${E}${options.causal ? " causal" : ""}${
    options.window ? ` window ${options.window}` : ""
  }`;
  if (!name.includes(pattern)) continue;
  const problem = problemOf(row);
  const shape = shapeOf(problem);
  const chosen = timed(chooseTiles(shape, SMALL_CACHES));
  const all = [chosen, ...grid(problem, chosen.tiles).map(timed)];
  time(problem, chosen.tiles, 3);
  const once = time(problem, chosen.tiles, 3);
  const repeat = Math.max(1, Math.ceil(2 / once));
  const fit = Math.floor(BUDGET * 1e3 / (all.length * repeat * once));
  rounds(problem, all, Math.min(ROUNDS.sweep, Math.max(ROUNDS.least, fit)), repeat);
  if (raw) {
    console.log(
      JSON.stringify({ shape: { ...shape, left: String(shape.left), right: String(shape.right) }, all }),
    );
    continue;
  }
  // Fresh minima for the planner's choice, one size for all and the five fastest.
  const same = (a: Tiles, b: Tiles) => Object.values(a).join() === Object.values(b).join();
  const known = all.find(({ tiles }) => same(tiles, oneSize(problem)));
  const fixed = known ?? timed(oneSize(problem));
  const duel = [...new Set([chosen, fixed, ...[...all].sort((a, b) => a.min - b.min).slice(0, 5)])]
    .map(({ tiles }) => timed(tiles));
  const worst = Math.max(...all.map(({ min }) => min));
  const fights = DUEL * 1e3 / (duel.length * repeat * once);
  rounds(problem, duel, Math.floor(Math.min(ROUNDS.most, Math.max(ROUNDS.duel, fights))), repeat);
  const best = duel.reduce((a, b) => slower(duel[0], b) > slower(duel[0], a) ? b : a);
  const over = slower(duel[0], best);
  const { seconds, pairs } = cost(shape, chosen.tiles, SMALL_CACHES);
  count++;
  if (over <= 0.05) near++;
  console.log([
    name.padEnd(34),
    `${duel[0].min.toFixed(3)} ms`.padStart(11),
    `${(2 * (D + E) * pairs / duel[0].min / 1e6).toFixed(1)} GF`.padStart(8),
    `model ${(seconds * 1e3).toFixed(3)}`.padStart(13),
    `chosen ${say(chosen.tiles)}`.padEnd(26),
    `best ${say(best.tiles)}`.padEnd(24),
    `+${(100 * over).toFixed(1)} %`.padStart(8),
    `one size +${(100 * slower(duel[fixed === chosen ? 0 : 1], best)).toFixed(1)} %`.padStart(16),
    `worst +${(100 * (worst / best.min - 1)).toFixed(0)} %`.padStart(12),
    `(${all.length - 1} choices)`,
  ].join("  "));
}
if (!raw) console.log(`${near} of ${count} choices within 5 % of the best`);
