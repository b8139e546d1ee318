/**
 * Alternating short runs: every round gives each case one short Benchmark.js run and the canary one too, so that a
 * slow moment of the machine hits all of them alike. Reported: minimum and median time of a call, GFLOP/s, and the
 * percentage of the canary (multiply-add on registers alone) at its own minimum.
 */
import Benchmark from "benchmark";

export interface BenchCase {
  readonly name: string;
  /** Floating-point operations of one call, 0 if a rate means nothing. */
  readonly flops: number;
  run(): unknown;
  /** Throws if what `run` computes is wrong: nothing wrong is ever timed. */
  check(): void;
}

export interface BenchRow {
  readonly name: string;
  /** Milliseconds a call. */
  readonly min: number;
  readonly median: number;
  /** At the minimum and at the median. */
  readonly gflops: number;
  readonly medianGflops: number;
  /** Of the canary's best. */
  readonly percent: number;
}

export interface BenchOptions {
  readonly rounds?: number;
  /** Seconds of one run. */
  readonly runTime?: number;
}

/** Checks every case, then times all of them against the canary, which comes first. */
export function interleave(canary: BenchCase, cases: BenchCase[], options: BenchOptions = {}): BenchRow[] {
  const all = [canary, ...cases];
  for (const each of all) each.check();
  const seconds: number[][] = all.map(() => []);
  for (let round = 0; round < (options.rounds ?? 12); round++) {
    all.forEach((each, x) => seconds[x].push(...sample(each, options.runTime ?? 0.05)));
  }
  const peak = canary.flops / Math.min(...seconds[0]) / 1e9;
  return all.map(({ name, flops }, x) => {
    const sorted = seconds[x].sort((a, b) => a - b);
    const min = sorted[0], median = sorted[sorted.length >> 1];
    return {
      name,
      min: min * 1e3,
      median: median * 1e3,
      gflops: flops / min / 1e9,
      medianGflops: flops / median / 1e9,
      percent: (100 * flops) / min / 1e9 / peak,
    };
  });
}

/** Seconds a call, some samples of one Benchmark.js run. */
function sample(each: BenchCase, maxTime: number): number[] {
  const bench = new Benchmark(() => each.run(), {
    maxTime,
    minSamples: 2,
    minTime: maxTime / 4,
    initCount: 1,
  });
  bench.run();
  const { error } = bench as unknown as { error?: unknown };
  if (error) throw error;
  return bench.stats.sample;
}

export function printRows(rows: BenchRow[]): void {
  const width = Math.max(...rows.map(({ name }) => name.length));
  console.log(`${"".padEnd(width)}     min ms  median ms  GFLOP/s  (median)  % of canary`);
  for (const { name, min, median, gflops, medianGflops, percent } of rows) {
    const columns = [
      min.toFixed(3).padStart(9),
      median.toFixed(3).padStart(9),
      gflops.toFixed(1).padStart(7),
      medianGflops.toFixed(1).padStart(8),
      percent.toFixed(0).padStart(11),
    ];
    console.log(`${name.padEnd(width)}  ${columns.join("  ")}`);
  }
}
