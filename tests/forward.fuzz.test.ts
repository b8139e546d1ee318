/**
 * Any combination of options on the kernels, every element within the bound derived for that very problem.
 *
 * 1,000 problems a build by default; FLASHTILE_FUZZ=50000 asks for more, FLASHTILE_SEED=n starts elsewhere. A failure
 * names the seed of its problem: FLASHTILE_SEED=that FLASHTILE_FUZZ=1 runs it alone.
 */
import { expect, test } from "vitest";
import { attention } from "../src/ops/attention.ts";
import type { ForwardOptions } from "../src/ops/forward.ts";
import { createProblem } from "../src/problem.ts";
import { forward as reference } from "../src/reference/attention.ts";
import { FLOAT32, FLOAT64 } from "../src/verify/arithmetic.ts";
import { forwardBounds } from "../src/verify/bounds.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";
import { deterministicFull as deterministic, relaxedFull as relaxed } from "../src/wasm/full.ts";
import { instantiate } from "../src/wasm/load.ts";
import { anyProblem } from "./support/anyproblem.ts";
import { Random } from "./support/random.ts";
import { beyond } from "./support/tensors.ts";

const RUNS = Number(process.env.FLASHTILE_FUZZ ?? 1000);
const SEED = Number(process.env.FLASHTILE_SEED ?? 1);

const MAX = 3.4028234663852886e38;

/** Tilings: none of them may matter. */
function tiling(seed: number): ForwardOptions {
  const random = new Random(seed);
  const pick = <T>(...values: T[]) => values[random.next() % values.length];
  return pick<ForwardOptions>({}, {}, {}, { scalar: true }, { panelKeys: 64 }, {
    panelKeys: 128,
    chunkRows: 4 * (1 + random.next() % 9),
    br: pick(4, 16, 64, 256),
  });
}

for (const build of hasRelaxedSimd() ? [deterministic, relaxed] : [deterministic]) {
  test(`${build.name}: seeds ${SEED} to ${SEED + RUNS - 1}`, () => {
    const engine = instantiate(build);
    let worst = 0;
    const failures: string[] = [];
    for (let seed = SEED; seed < SEED + RUNS && failures.length < 10; seed++) {
      const { q, k, v, options } = anyProblem(seed);
      const problem = createProblem(q, k, v, { ...options, lse: true });
      const got = attention(engine, problem, tiling(seed));
      // Without lse small calls go a way of their own, to the same bits.
      const { out: alone } = attention(
        engine,
        { ...problem, want: { ...problem.want, lse: false } },
        tiling(seed),
      );
      const words = ({ data }: { data: ArrayBufferView }) => new Int32Array(data.buffer);
      const apart = words(alone).findIndex((word, at) => word !== words(got.out)[at]);
      if (apart >= 0) failures.push(`seed ${seed}: out[${apart}] differs without lse`);
      const want = reference(problem);
      const bounds = forwardBounds(problem, FLOAT32, FLOAT64);
      const compare = (name: "out" | "lse" | "probabilities", bound: Float64Array) => {
        const [a, b] = [got[name]!.data as Float32Array, want[name]!.data as Float64Array];
        // Beyond float32: ∞.
        const stored = b.map((x, at) =>
          Math.abs(x) + bound[at] > MAX && a[at] === Math.sign(x) / 0 ? a[at] : x
        );
        const bad = beyond(a, stored, bound);
        if (bad.length > 0) failures.push(`seed ${seed}: ${name}${bad[0]}`);
        bound.forEach((limit, x) => {
          const error = Math.abs(a[x] - stored[x]);
          if (error > 0 && error / limit > worst) worst = error / limit;
        });
      };
      compare("out", bounds.out);
      compare("lse", bounds.lse);
      if (bounds.probabilities) compare("probabilities", bounds.probabilities);
    }
    expect(failures).toEqual([]);
    // Bounds that nothing comes near would prove nothing.
    if (RUNS >= 1000) expect(worst).toBeGreaterThan(0.3);
  }, 7_200_000);
}
