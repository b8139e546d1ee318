/**
 * `node tools/bench.js quantised [--relaxed] [--quick] [--json] [pattern]`: attention in each precision beside
 * float32, one core, alternating; quantisation and smoothing are in the time.
 *
 * GFLOP/s are float32's 2·(D + E) flops for each (query, key) pair that the mask allows, whatever the arithmetic. A
 * case is checked first: three rows of the last head against float64, within the bound of that precision.
 */
import { forward } from "../src/ops/forward.ts";
import type { AttentionOptions } from "../src/options.ts";
import { type Precision, type Recipe, sage } from "../src/precision.ts";
import { createProblem, keyRange } from "../src/problem.ts";
import { forward as reference } from "../src/reference/attention.ts";
import { FLOAT32, FLOAT64 } from "../src/verify/arithmetic.ts";
import { forwardBounds } from "../src/verify/bounds.ts";
import { quantised } from "../src/verify/quantisation.ts";
import { deterministicFull as deterministic, relaxedFull as relaxed } from "../src/wasm/full.ts";
import { type Engine, instantiate } from "../src/wasm/load.ts";
import { type BenchCase, interleave, printRows } from "./harness.ts";
import { gaussian } from "./inputs.ts";
import { integerTileCases } from "./quantisedtiles.ts";
import { canaryCase, tileCases } from "./tiles.ts";

interface Shape {
  readonly name: string;
  readonly H: number;
  readonly N: number;
  readonly D: number;
  readonly options?: AttentionOptions;
}

const SHAPES: readonly Shape[] = [
  { name: "N=1024 D=64", H: 8, N: 1024, D: 64 },
  { name: "N=1024 D=128", H: 8, N: 1024, D: 128 },
  { name: "N=1024 D=64 causal", H: 8, N: 1024, D: 64, options: { causal: true } },
  { name: "N=2048 D=128 causal", H: 4, N: 2048, D: 128, options: { causal: true } },
  { name: "N=4096 D=64", H: 2, N: 4096, D: 64 },
  { name: "N=4096 D=128", H: 2, N: 4096, D: 128 },
];

const int16 = sage({
  ...{ qk: "int16", pv: "int16", granularity: "token", rounding: "half-even", smoothV: true, vScale: "tile" },
});
const PRECISIONS: readonly [string, Precision][] = [
  ["float32", "float32"],
  ["int12", "int12"],
  ["int8", "int8"],
  ["int8 PV int8", { ...int16, qk: "int8", pv: "int8" }],
  ["int8 PV float32", { ...int16, qk: "int8", pv: "float32" }],
  ["int7 PV int12", { ...int16, qk: "int7", pv: "int12" }],
  ["int7 PV int7", { ...int16, qk: "int7", pv: "int7" }],
  ["int16", int16],
  ["int4 PV int12", { ...int16, qk: "int4", pv: "int12" }],
  ["int4 PV E4M3", { ...int16, qk: "int4", pv: "float32/fp8" }],
  ["int8 PV E4M3", { ...int16, qk: "int8", pv: "float32/fp8" }],
];

/** The exports behind a result, the tiles of each included. */
const ran = new Map<string, string[]>();

function forwardCase(engine: Engine, shape: Shape, [label, precision]: [string, Precision]): BenchCase {
  const { H, N, D, options = {} } = shape;
  const name = `${shape.name} ${label}`;
  const tensor = (seed: number) => ({ data: gaussian(H * N * D, seed), shape: [1, H, N, D] });
  const [q, k, v] = [tensor(1), tensor(2), tensor(3)];
  const problem = createProblem(q, k, v, { ...options, precision });
  const pairs = Array.from({ length: N }, (_, i) => keyRange(problem, 0, 0, i))
    .reduce((sum, { lo, hi }) => sum + hi - lo, 0);
  return {
    name,
    flops: 4 * D * H * pairs,
    run: () => forward(engine, problem),
    check: () => {
      const { out } = forward(engine, problem);
      ran.set(name, exportsOf(problem.precision, engine.name === "relaxed"));
      const rows = [0, N >> 1, N - 1];
      const head = (t: typeof q) => ({ ...t, shape: [1, 1, N, D], offset: (H - 1) * N * D });
      const last = (H - 1) * N * D;
      const three = Float32Array.from(
        { length: 3 * D },
        (_, x) => q.data[last + rows[Math.floor(x / D)] * D + x % D],
      );
      // A mask in the place of `causal`: the keys that some row sees, and their mean, are the same.
      const mask = Uint8Array.from({ length: 3 * N }, (_, x) => {
        const { lo, hi } = keyRange(problem, 0, 0, rows[Math.floor(x / N)]);
        return x % N >= lo && x % N < hi ? 1 : 0;
      });
      const few = createProblem({ data: three, shape: [1, 1, 3, D] }, head(k), head(v), {
        precision,
        mask: { data: mask, dtype: "bool", shape: [3, N] },
      });
      const want = reference({ ...few, precision: null }).out.data as Float64Array;
      const bounds = forwardBounds(few, few.precision ? quantised(FLOAT32) : FLOAT32, FLOAT64).out;
      want.forEach((x, at) => {
        const got = out[last + rows[Math.floor(at / D)] * D + at % D];
        if (!(Math.abs(got - x) <= bounds[at])) {
          throw new Error(`${name}: element ${at}: expected ${x} ± ${bounds[at]}, got ${got}`);
        }
      });
    },
  };
}

/** The fused forward of a recipe and its tiles (src/ops/quantised.ts, assembly/ops/quantised.ts). */
function exportsOf(recipe: Recipe | null, relaxed: boolean): string[] {
  if (recipe === null) return ["forward_f32", "gemm_f32_4x8", "softmax_f32_4x64"];
  const { qk, pv } = recipe;
  const bytes = (type: string) => relaxed && type === "int7";
  return [
    "forward_i16",
    ...(qk === "int4" ? ["unpack_i4", "qk_i4_4x32"] : [bytes(qk) ? "qk_i8_4x16" : "qk_i16_4x16"]),
    ...(pv === "float32/fp8" ? ["unpack_v_e4m3"] : []),
    ...(pv.startsWith("float32")
      ? ["softmax_f32_4x64", "gemm_f32_4x8"]
      : ["softmax_i16_4x64", bytes(pv) ? "pv_i8_4x16" : "pv_i16_4x16"]),
  ];
}

const flags = process.argv.slice(2);
const pattern = flags.find((flag) => !flag.startsWith("--")) ?? "";
const engine = instantiate(flags.includes("--relaxed") ? relaxed : deterministic);
const cases = [64, 128].flatMap((D) => [...tileCases(engine, D), ...integerTileCases(engine, D)])
  .concat(SHAPES.flatMap((shape) => PRECISIONS.map((precision) => forwardCase(engine, shape, precision))))
  .filter(({ name }) => name.includes(pattern));
const host = process.versions.bun ? `Bun ${process.versions.bun}` : `Node ${process.versions.node}`;
const rows = interleave(
  canaryCase(engine),
  cases,
  flags.includes("--quick") ? { rounds: 5, runTime: 0.02 } : {},
);
if (flags.includes("--json")) {
  const named = rows.map((row) => ({ ...row, kernels: ran.get(row.name) ?? [row.name.split(" ")[0]] }));
  console.log(JSON.stringify({ host, build: engine.name, rows: named }));
} else {
  console.log(`${engine.name} build, ${host}, one core`);
  printRows(rows);
  for (const kernels of new Set([...ran.values()].map((names) => names.join(" ")))) console.log(kernels);
}
