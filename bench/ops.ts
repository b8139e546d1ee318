/**
 * `node tools/bench.js ops [--relaxed] [--quick] [pattern]`: decode and the model's operations, one core, data resident in
 * linear memory. GB/s count every byte of K and V, or of W, once; the last column compares that with a plain read of as
 * many bytes (max_bits_f32), timed in the same rounds. Decode of 16384 keys and a W of 64 MB come from memory, the rest
 * from caches.
 */
import { encodeFloat16 } from "../src/dtype.ts";
import { decode_p } from "../src/ops/decode.ts";
import { linear_p, packedBytes } from "../src/ops/linear.ts";
import { rmsnorm_p } from "../src/ops/rmsnorm.ts";
import { add_p, silu_p } from "../src/ops/silu.ts";
import { deterministicFull as deterministic, relaxedFull as relaxed } from "../src/wasm/full.ts";
import { type Engine, instantiate } from "../src/wasm/load.ts";
import { scalarEngine } from "../src/wasm/table.ts";
import { type BenchCase, interleave } from "./harness.ts";
import { gaussian } from "./inputs.ts";
import { canaryCase } from "./tiles.ts";

const flags = process.argv.slice(2);
const pattern = flags.find((flag) => !flag.startsWith("--")) ?? "";
const engine = instantiate(flags.includes("--relaxed") ? relaxed : deterministic);
const twins = scalarEngine(engine);
const { arena, kernels } = engine;

interface OpCase extends BenchCase {
  /** Bytes that have to be read. */
  readonly bytes: number;
}

/** One region serves all cases as K and V or W: 2^25 random floats; one of float16 words, finite as bfloat16 too. */
const REGION = 2 ** 27;
const region_p = arena.alloc(REGION + 65536), halves_p = arena.alloc(REGION / 2 + 65536);
const x_p = arena.alloc(2 ** 23), y_p = arena.alloc(2 ** 23);
const sample = gaussian(2 ** 16, 1);
for (let at = 0; at < REGION; at += sample.byteLength) arena.f32(region_p + at, sample.length).set(sample);
const halves = Uint16Array.from(sample, encodeFloat16);
for (let at = 0; at < REGION / 2; at += halves.byteLength) {
  arena.u16(halves_p + at, halves.length).set(halves);
}
for (let at = 0; at < 2 ** 23; at += sample.byteLength) arena.f32(x_p + at, sample.length).set(sample);

/** The kernel against its scalar twin: the same bits, or what fused rounding may change. */
function agree(name: string, n: number, run: (e: Engine) => void): void {
  run(twins);
  const want = arena.f32(y_p, n).slice();
  arena.f32(y_p, n).fill(NaN);
  run(engine);
  const got = arena.f32(y_p, n);
  // Sums of up to 4096 terms, each at most as large as the largest result allows for random signs.
  const bound = engine.name === "relaxed" ? 2 ** -11 * want.reduce((a, b) => Math.max(a, Math.abs(b)), 0) : 0;
  for (let i = 0; i < n; i++) {
    if (!(Math.abs(got[i] - want[i]) <= bound)) {
      throw new Error(`${name}: element ${i}: ${got[i]}, twin ${want[i]}`);
    }
  }
}

function opCase(
  name: string,
  n: number,
  work: { flops: number; bytes: number },
  run: (e: Engine) => void,
): OpCase {
  return { name, ...work, run: () => run(engine), check: () => agree(name, n, run) };
}

function decodeCase(
  H: number,
  G: number,
  D: number,
  M: number,
  dtype: "float32" | "float16" | "bfloat16",
): OpCase {
  const size = dtype === "float32" ? 4 : 2, bytes = 2 * M * G * D * size;
  const k_p = size === 4 ? region_p : halves_p;
  const strides = { kToken: D, kHead: M * D, vToken: D, vHead: M * D };
  // 12 KiB between K and V, so that they don't meet in the same sets of the caches.
  const at = {
    q_p: x_p,
    k_p,
    v_p: k_p + bytes / 2 + 12288,
    out_p: y_p,
    N: 1,
    M,
    H,
    G,
    D,
    ...strides,
  };
  return opCase(
    `decode ${H}:${G} D=${D} M=${M}${size === 4 ? "" : ` ${dtype}`}`,
    H * D,
    { flops: 4 * H * M * D, bytes },
    (e) => decode_p(e, { ...at, dtype, finite: true }),
  );
}

function linearCase(rows: number, inDim: number, outDim: number): OpCase {
  return opCase(
    `linear ${rows}×${inDim}→${outDim}`,
    rows * outDim,
    { flops: 2 * rows * inDim * outDim, bytes: packedBytes(outDim, inDim) },
    (e) => linear_p(e, x_p, region_p, y_p, rows, inDim, outDim),
  );
}

function readCase(bytes: number): OpCase {
  return {
    name: `read ${bytes / 2 ** 20} MiB`,
    flops: 0,
    bytes,
    run: () => kernels.max_bits_f32(region_p, 1024, bytes / 4096, 1024),
    check: () => {
      const want = new Int32Array(sample.map(Math.abs).sort().slice(-1).buffer)[0];
      if (kernels.max_bits_f32(region_p, 1024, 64, 1024) !== want) throw new Error("read: not the largest");
    },
  };
}

const rows = 256, dim = 1024, n = rows * dim;
const cases = [
  ...[1024, 4096, 16384].map((M) => decodeCase(32, 8, 128, M, "float32")),
  ...(["float16", "bfloat16"] as const).map((dtype) => decodeCase(32, 8, 128, 4096, dtype)),
  ...[1024, 16384].map((M) => decodeCase(32, 8, 64, M, "float32")),
  ...[1024, 4096].map((M) => decodeCase(32, 32, 128, M, "float32")),
  ...(["float16", "bfloat16"] as const).map((dtype) => decodeCase(32, 32, 128, 4096, dtype)),
  decodeCase(4, 2, 64, 1024, "float32"),
  ...[[64, 192, 512], [512, 512, 512], [64, 2048, 2048], [512, 4096, 1024]].map(([r, i, o]) =>
    linearCase(r, i, o)
  ),
  ...[[192, 512], [1024, 1024], [4096, 4096]].map(([i, o]) => linearCase(1, i, o)),
  opCase(
    "rmsnorm 256×1024",
    n,
    { flops: 0, bytes: 8 * n },
    (e) => rmsnorm_p(e, x_p, x_p, y_p, rows, dim, 1e-5),
  ),
  opCase("silu 2^18", n, { flops: 0, bytes: 8 * n }, (e) => silu_p(e, x_p, x_p, y_p, n)),
  opCase("add 2^18", n, { flops: 0, bytes: 8 * n }, (e) => add_p(e, x_p, x_p, y_p, n)),
].filter(({ name }) => name.includes(pattern));
const reads = [1, 8, 64, 128].map((mib) => readCase(mib * 2 ** 20));

const timed = interleave(
  canaryCase(engine),
  [...reads, ...cases],
  flags.includes("--quick") ? { rounds: 3, runTime: 0.02 } : {},
).slice(1);
const rate = (i: number) => [...reads, ...cases][i].bytes / timed[i].min / 1e6;

const host = process.versions.bun ? `Bun ${process.versions.bun}` : `Node ${process.versions.node}`;
console.log(`${engine.name} build, ${host}, one core, fastest run`);
console.log(`${"".padEnd(34)}     min ms  median ms     GB/s  GFLOP/s  % of read`);
timed.forEach(({ name, min, median, gflops }, i) => {
  const like = reads.findIndex((read) => read.bytes >= Math.min([...reads, ...cases][i].bytes, REGION));
  console.log([
    name.padEnd(34),
    min.toFixed(3).padStart(9),
    median.toFixed(3).padStart(9),
    rate(i).toFixed(1).padStart(7),
    (gflops ? gflops.toFixed(1) : "").padStart(7),
    (100 * rate(i) / rate(like)).toFixed(0).padStart(9),
  ].join("  "));
});
