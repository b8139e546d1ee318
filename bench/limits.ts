/**
 * `node tools/bench.js limits [--long] [--relaxed]`: what the kernels promise besides speed, each line a measurement.
 *
 *   window 256 at N = 8192     against the time its pairs would take at the speed of the kernel without a window
 *   denormal-heavy inputs      against the same problem on normal numbers
 *   memory                     growth for N = 32768, D = 64, one head
 *   --long                     N = 131072 causal, D = 16: 5.5e11 flops, half a minute
 *
 * Quotients are medians over rounds in which both sides take turns, so a busy neighbour slows both alike.
 */
import { forward } from "../src/ops/forward.ts";
import type { AttentionOptions } from "../src/options.ts";
import { createProblem, keyRange, type Problem } from "../src/problem.ts";
import { relaxed } from "../src/relaxed.ts";
import { deterministic } from "../src/wasm/deterministic.ts";
import { instantiate } from "../src/wasm/load.ts";
import { gaussian } from "./inputs.ts";

const flags = process.argv.slice(2);
const build = flags.includes("--relaxed") ? relaxed : deterministic;
const engine = instantiate(build);

/** One head of N × D, Q, K and V times these. */
function problem(N: number, D: number, options: AttentionOptions = {}, scale = [1, 1, 1]): Problem {
  const tensor = (seed: number) => ({
    data: gaussian(N * D, seed + 1).map((x) => x * scale[seed]),
    shape: [1, 1, N, D],
  });
  return createProblem(tensor(0), tensor(1), tensor(2), options);
}

function pairs(p: Problem): number {
  let count = 0;
  for (let i = 0; i < p.N; i++) {
    const { lo, hi } = keyRange(p, 0, 0, i);
    count += hi - lo;
  }
  return count;
}

/** Median over the rounds of (milliseconds of a) / (of b), and the least of each. */
function against(a: Problem, b: Problem, rounds = 25): { quotient: number; a: number; b: number } {
  const clock = (p: Problem) => {
    const start = performance.now();
    forward(engine, p);
    return performance.now() - start;
  };
  const times = Array.from({ length: rounds + 3 }, () => [clock(a), clock(b)]).slice(3);
  const quotients = times.map(([x, y]) => x / y).sort((x, y) => x - y);
  return {
    quotient: quotients[rounds >> 1],
    a: Math.min(...times.map(([x]) => x)),
    b: Math.min(...times.map(([, y]) => y)),
  };
}

const host = process.versions.bun ? `Bun ${process.versions.bun}` : `Node ${process.versions.node}`;
console.log(`${build.name} build, ${host}, one core, one head`);

const windowed = problem(8192, 64, { causal: true, window: [255, 0] });
const open = problem(1024, 64);
const { quotient, a, b } = against(windowed, open);
const needed = pairs(windowed) / pairs(open);
console.log(
  `window 256, N=8192 D=64: ${a.toFixed(2)} ms, ${
    (quotient / needed).toFixed(2)
  } × the time of its pairs without a window (N=1024: ${b.toFixed(2)} ms)`,
);

const TINY = 1e-40;
const normal = problem(512, 64);
for (
  const [name, scale] of [
    ["Q of 1e-40", [TINY, 1, 1]],
    ["Q and K of 1e-20, products of 1e-40", [1e-20, 1e-20, 1]],
    ["V of 1e-40", [1, 1, TINY]],
    ["weights down to 2^-126, V of 1e-5", [20, 1, 1e-5]],
  ] as const
) {
  const { quotient } = against(problem(512, 64, {}, [...scale]), normal);
  console.log(`denormal, ${name}: ${quotient.toFixed(2)} × the time of normal numbers`);
}

const fresh = instantiate(build);
const before = fresh.arena.size;
forward(fresh, problem(32768, 64, { causal: true, window: [1023, 0] }));
console.log(`memory, N=32768 D=64: grew by ${((fresh.arena.size - before) / 1e6).toFixed(2)} MB`);

if (flags.includes("--long")) {
  const long = problem(131072, 16, { causal: true });
  const start = performance.now();
  const { out } = forward(engine, long);
  const seconds = (performance.now() - start) / 1e3;
  if (!out.every(Number.isFinite)) throw new Error("N=131072: not every element is finite");
  console.log(
    `N=131072 D=16 causal: ${seconds.toFixed(1)} s, ${
      (64 * pairs(long) / seconds / 1e9).toFixed(1)
    } GFLOP/s, ${(engine.arena.size / 1e6).toFixed(1)} MB of WebAssembly memory`,
  );
}
