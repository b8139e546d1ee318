/**
 * Runs inside each runtime: what works there, and do the bits agree? Returns one row of the matrix.
 */
import { attention, createRuntime } from "flashtile";
import * as reference from "flashtile/reference";
import { relaxed } from "flashtile/relaxed";
import { threadSupport } from "flashtile/threads";
import { COUNT, problem } from "./cases.js";
import { conformance } from "./conformance.js";
import { generator, tensor } from "./data.js";
import { hashOf } from "./hash.js";

export async function probe({ workerUrl } = {}) {
  const { passed, total, failures } = await conformance();
  return {
    passed,
    total,
    failures,
    ...await hashes(),
    relaxed: await relaxedRuns(),
    threads: await threadSupport({ workerUrl }),
    gflops: speed(),
  };
}

const LOW_BITS = { qk: "int4", granularity: "token", rounding: "half-even", smoothQ: false };
/** What the kernels compute: integers, K as nibbles, V in E4M3. */
const RECIPES = [
  ...["int12", "int8"],
  { ...LOW_BITS, pv: "int12", smoothV: true, pScale: "tile", vScale: "tile" },
  { ...LOW_BITS, pv: "float32/fp8" },
];
const ORACLE_RECIPES = [
  ...RECIPES,
  ...[{ version: "1" }, { version: "2" }, { version: "2++" }, { version: "3" }],
];

const INT7 = {
  ...{ qk: "int7", pv: "int7", granularity: "token", rounding: "half-even" },
  ...{ smoothV: true, pScale: "tile", vScale: "tile" },
};

/** The bits of 200 problems: attention, quantised too, scores and softmax on the kernels; gradients too on the oracle. */
async function hashes() {
  const rt = await createRuntime();
  const kernels = [];
  const oracle = [];
  for (let n = 0; n < COUNT; n++) {
    const { q, k, v, options } = problem(n);
    const plain = { ...options };
    delete plain.dropout;
    delete plain.probabilities;

    const fast = attention(q, k, v, options);
    kernels.push(...Object.values(fast), rt.sync.softmax(fast.lse, { log: n % 2 === 0 }));
    if (n % 4 === 0) {
      kernels.push(rt.sync.scores(q, k, { ...plain, lse: false }));
    }
    if (n % 4 === 1) {
      kernels.push(...quantised(attention, q, k, v, plain, RECIPES[(n >> 2) % RECIPES.length]));
    }

    const exact = reference.attention(q, k, v, options);
    const dOut = tensor(generator(n + 1), exact.out.shape);
    const gradients = reference.attentionBackward(q, k, v, exact.out, exact.lse, dOut, options);
    oracle.push(...Object.values(exact), ...Object.values(gradients));
    if (n % 4 === 1) {
      oracle.push(
        ...quantised(reference.attention, q, k, v, plain, ORACLE_RECIPES[(n >> 2) % ORACLE_RECIPES.length]),
      );
    }
  }
  rt.close();
  return { deterministic: await hashOf(kernels), oracle: await hashOf(oracle) };
}

function quantised(run, q, k, v, options, precision) {
  return Object.values(run(q, k, v, { ...options, precision }));
}

/**
 * The relaxed build answers within the deterministic one's accuracy, in integers with its bits (int7 on other
 * instructions), or the engine says that it cannot run it.
 */
async function relaxedRuns() {
  let rt;
  try {
    rt = await createRuntime({ kernels: relaxed });
  } catch (error) {
    if (error.code === "NO_SIMD") return "no";
    throw error;
  }
  const random = generator(1);
  const [q, k, v] = [1, 2, 3].map(() => tensor(random, [1, 2, 100, 64]));
  const a = (await rt.attention(q, k, v)).out.data;
  const b = attention(q, k, v).out.data;
  for (const precision of ["int12", "int8", INT7]) {
    const [fused, plain] = [await rt.attention(q, k, v, { precision }), attention(q, k, v, { precision })];
    const [x, y] = [await hashOf([fused.out]), await hashOf([plain.out])];
    if (x !== y) throw new Error(`relaxed: other bits than deterministic in ${JSON.stringify(precision)}`);
  }
  rt.close();
  const worst = a.reduce((max, x, i) => Math.max(max, Math.abs(x - b[i])), 0);
  // Both are within about 100·2^-24 of the exact mean of values below 4.
  if (!(worst < 1e-4)) {
    throw new Error(`relaxed: differs from deterministic by ${worst}`);
  }
  return "yes";
}

/** H=8 N=1024 D=64, the best of a few: 4·H·N²·D flops. */
function speed() {
  const [H, N, D] = [8, 1024, 64];
  const x = tensor(generator(2), [1, H, N, D]);
  let best = Infinity;
  for (let run = 0; run < 12; run++) {
    const start = performance.now();
    attention(x, x, x);
    const took = performance.now() - start;
    // workerd's clock stands still while it computes.
    if (took > 0) best = Math.min(best, took);
  }
  return best === Infinity ? null : (4 * H * N * N * D) / best / 1e6;
}
