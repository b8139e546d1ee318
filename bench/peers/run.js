/**
 * flashtile against what a user would import instead: the same inputs, one process, one thread, turn by turn, so that
 * a slow moment of the machine hits all alike. Every result is checked against float64 before it is timed.
 *
 *   node run.js [--readme] [--seconds S] [PATTERN]      minimum (median) in ms for each problem and peer
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { markdownTable } from "markdown-table";
import { attention } from "../../dist/index.js";
import { attention as oracle } from "../../dist/reference.js";
import { PEERS } from "./peers.js";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    readme: { type: "boolean" },
    seconds: { type: "string", default: "6" },
  },
});

const PROBLEMS = [
  { name: "8 heads N=1024 D=64", H: 8, N: 1024, D: 64 },
  { name: "8 heads N=1024 D=128", H: 8, N: 1024, D: 128 },
  { name: "8 heads N=4096 D=64", H: 8, N: 4096, D: 64 },
  { name: "8 heads N=1024 D=64 causal", H: 8, N: 1024, D: 64, causal: true },
  { name: "8 heads N=2048 D=128 causal", H: 8, N: 2048, D: 128, causal: true },
  { name: "whisper encoder 8×1500×64", H: 8, N: 1500, D: 64 },
  { name: "BERT 12×512×64", H: 12, N: 512, D: 64 },
  { name: "4 heads N=64 D=32", H: 4, N: 64, D: 32 },
  { name: "4 heads N=128 D=64", H: 4, N: 128, D: 64 },
].filter(({ name }) => !positionals[0] || name.includes(positionals[0]));

const names = ["flashtile", ...Object.keys(PEERS)];
const rows = [];
for (const problem of PROBLEMS) {
  const times = await measure(withInputs(problem));
  rows.push({ problem, times });
  console.error(
    problem.name,
    times.map((t, x) => `${names[x]} ${t ? t.min.toPrecision(3) : "–"}`).join("  "),
  );
}
// Who ran nothing, for a reason told above, has no column.
const shown = [...names.keys()].filter((x) => rows.some(({ times }) => times[x]));
const table = markdownTable([
  ["one thread, float32; ms, minimum (median) [GFLOP/s]", ...shown.map((x) => names[x])],
  ...rows.map(({ problem, times }) => [problem.name, ...shown.map((x) => cell(problem, times[x]))]),
]);
console.log(table);
if (flags.readme) paste(table);
process.exit(0);

function cell({ H, N, D, causal }, time) {
  if (!time) return "fails";
  const flops = 4 * H * N * N * D * (causal ? 0.5 : 1);
  const digits = time.min < 1 ? 3 : time.min < 10 ? 2 : 0;
  return `${time.min.toFixed(digits)} (${time.median.toFixed(digits)}) [${
    (flops / time.min / 1e6).toFixed(0)
  }]`;
}

/** Uniform in (−1.7, 1.7), in both memory orders. */
function withInputs(problem) {
  const { H, N, D } = problem;
  let state = 12345;
  const random = () => ((state = (Math.imul(state, 1664525) + 1013904223) | 0) / 2 ** 31) * 1.7;
  const bhnd = {}, bnhd = {};
  for (const name of ["q", "k", "v"]) {
    bhnd[name] = Float32Array.from({ length: H * N * D }, random);
    bnhd[name] = new Float32Array(H * N * D);
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < N; i++) {
        bnhd[name].set(
          bhnd[name].subarray((h * N + i) * D, (h * N + i + 1) * D),
          (i * H + h) * D,
        );
      }
    }
  }
  return { causal: false, ...problem, bhnd, bnhd };
}

async function measure(problem) {
  const { H, N, D, causal, bhnd } = problem;
  const tensor = (data) => ({ data, shape: [1, H, N, D] });
  const ours = {
    layout: "bhnd",
    run: () =>
      attention(tensor(bhnd.q), tensor(bhnd.k), tensor(bhnd.v), { causal }).out
        .data,
    close() {},
  };
  const runners = [ours];
  for (const [name, make] of Object.entries(PEERS)) {
    runners.push(
      await make(problem).catch((error) => skip(name, problem, error)),
    );
  }
  for (let x = 0; x < runners.length; x++) {
    if (!runners[x]) continue;
    try {
      check(problem, await runners[x].run(), runners[x].layout);
    } catch (error) {
      runners[x] = skip(names[x], problem, error);
    }
  }
  const samples = runners.map(() => []);
  const end = performance.now() + Number(flags.seconds) * 1000;
  for (let round = 0; round < 5 || performance.now() < end; round++) {
    for (let x = 0; x < runners.length; x++) {
      if (!runners[x]) continue;
      // Calls of well under a millisecond are timed a few at a time.
      const calls = H * N * N * D < 2 ** 25 ? 10 : 1;
      const start = performance.now();
      for (let n = 0; n < calls; n++) await runners[x].run();
      samples[x].push((performance.now() - start) / calls);
    }
  }
  for (const runner of runners) await runner?.close();
  return samples.map((list) => {
    if (list.length === 0) return null;
    list.sort((a, b) => a - b);
    return { min: list[0], median: list[list.length >> 1] };
  });
}

function skip(name, problem, error) {
  console.error(
    `${name} left out of ${problem.name}: ${String(error?.message ?? error).split("\n")[0]}`,
  );
  return null;
}

/** Four rows of the first and the last head against float64; float32 attention of these inputs is within 1e-5. */
function check({ H, N, D, causal, bhnd }, out, layout) {
  if (out.length !== H * N * D) {
    throw new Error(`expected ${H * N * D} elements, got ${out.length}`);
  }
  for (const h of [0, H - 1]) {
    for (const i of [0, 1, N >> 1, N - 1]) {
      const keys = causal ? i + 1 : N;
      const part = (name, from, rows) => ({
        data: bhnd[name].subarray(
          (h * N + from) * D,
          (h * N + from + rows) * D,
        ),
        shape: [1, 1, rows, D],
      });
      const expected = oracle(part("q", i, 1), part("k", 0, keys), part("v", 0, keys)).out
        .data;
      const at = layout === "bhnd" ? (h * N + i) * D : (i * H + h) * D;
      expected.forEach((x, d) => {
        if (!(Math.abs(out[at + d] - x) < 1e-5)) {
          throw new Error(
            `wrong at h=${h} i=${i} d=${d}: ${out[at + d]}, not ${x}`,
          );
        }
      });
    }
  }
}

function paste(text) {
  const file = new URL("../../README.md", import.meta.url);
  const [start, end] = ["<!-- peers -->", "<!-- /peers -->"];
  const readme = readFileSync(file, "utf8");
  const [before, rest] = readme.split(start);
  writeFileSync(
    file,
    `${before}${start}\n${text}\n${end}${rest.split(end)[1]}`,
  );
}
