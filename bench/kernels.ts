/**
 * `npm run bench [-- [--relaxed] [--quick] [pattern]]`: the tile kernels and the fused forward, one core, float32.
 *
 * GFLOP/s count 2·(D + E) flops for each (query, key) pair that the mask allows; times include everything from the
 * caller's arrays to the caller's arrays.
 */
import { forward } from "../src/ops/forward.ts";
import type { AttentionOptions } from "../src/options.ts";
import { createProblem, keyRange } from "../src/problem.ts";
import { forward as reference } from "../src/reference/attention.ts";
import { RuntimeTensor } from "../src/runtimetensor.ts";
import { deterministicFull as deterministic, relaxedFull as relaxed } from "../src/wasm/full.ts";
import { type Engine, instantiate } from "../src/wasm/load.ts";
import { type BenchCase, interleave, printRows } from "./harness.ts";
import { gaussian } from "./inputs.ts";
import { canaryCase, tileCases } from "./tiles.ts";

interface Shape {
  readonly name: string;
  readonly H: number;
  readonly N: number;
  readonly D: number;
  readonly options?: AttentionOptions;
  /** Q, K and V lie in wasm memory. */
  readonly held?: true;
}

const SHAPES: readonly Shape[] = [
  { name: "N=1024 D=64", H: 8, N: 1024, D: 64 },
  { name: "N=1024 D=64 causal", H: 8, N: 1024, D: 64, options: { causal: true } },
  { name: "N=1024 D=128", H: 8, N: 1024, D: 128 },
  { name: "N=4096 D=64", H: 8, N: 4096, D: 64 },
  { name: "N=2048 D=128 causal", H: 8, N: 2048, D: 128, options: { causal: true } },
  { name: "N=8192 D=64 window 256", H: 8, N: 8192, D: 64, options: { causal: true, window: [255, 0] } },
  { name: "whisper encoder 8×1500×64", H: 8, N: 1500, D: 64 },
  { name: "BERT 12×512×64", H: 12, N: 512, D: 64 },
  { name: "H=4 N=64 D=32", H: 4, N: 64, D: 32 },
  { name: "H=4 N=64 D=32, rt.tensor", H: 4, N: 64, D: 32, held: true },
  { name: "H=4 N=128 D=64", H: 4, N: 128, D: 64 },
  { name: "H=4 N=128 D=64, rt.tensor", H: 4, N: 128, D: 64, held: true },
];

function forwardCase(engine: Engine, { name, H, N, D, options = {}, held }: Shape): BenchCase {
  const tensor = (seed: number) => ({ data: gaussian(H * N * D, seed), shape: [1, H, N, D] });
  const [q, k, v] = [tensor(1), tensor(2), tensor(3)];
  const place = ({ data, shape }: typeof q) =>
    held ? new RuntimeTensor(() => engine.arena, shape).write(data) : { data, shape };
  const problem = createProblem(place(q), place(k), place(v), options);
  let pairs = 0;
  for (let i = 0; i < N; i++) {
    const { lo, hi } = keyRange(problem, 0, 0, i);
    pairs += hi - lo;
  }
  const last = (t: typeof q, rows: number, row: number) => ({
    ...t,
    shape: [1, 1, rows, D],
    offset: ((H - 1) * N + row) * D,
  });
  return {
    name: `forward ${name}`,
    flops: 4 * D * H * pairs,
    run: () => forward(engine, problem),
    // Three rows of the last head against float64. Scores are O(1) and |V| < 4, so tests/forward.test.ts's bound is
    // below (4·D·ε·Σ|qk|·scale + (N + 16)·ε)·4.
    check: () => {
      const { out } = forward(engine, problem);
      for (const i of [0, N >> 1, N - 1]) {
        const one = createProblem(last(q, 1, i), last(k, N, 0), last(v, N, 0), {
          ...options,
          ...(options.causal && { align: { offset: i } }),
        });
        const want = reference(one).out.data as Float64Array;
        const bound = 4 * (N + 16 + 32 * D) * 2 ** -24;
        for (let d = 0; d < D; d++) {
          const got = out[((H - 1) * N + i) * D + d];
          if (!(Math.abs(got - want[d]) <= bound)) {
            throw new Error(`${name}: row ${i}, column ${d}: expected ${want[d]} ± ${bound}, got ${got}`);
          }
        }
      }
    },
  };
}

const flags = process.argv.slice(2);
const pattern = flags.find((flag) => !flag.startsWith("--")) ?? "";
const engine = instantiate(flags.includes("--relaxed") ? relaxed : deterministic);
const cases = [...tileCases(engine, 64), ...tileCases(engine, 128).slice(0, 2)]
  .concat(SHAPES.map((shape) => forwardCase(engine, shape)))
  .filter(({ name }) => name.includes(pattern));
const host = process.versions.bun ? `Bun ${process.versions.bun}` : `Node ${process.versions.node}`;
console.log(`${engine.name} build, ${host}, one core`);
printRows(
  interleave(canaryCase(engine), cases, flags.includes("--quick") ? { rounds: 3, runTime: 0.02 } : {}),
);
