/** The kernels in the suite of every implementation: both builds, and the scalar twins of the full one. */
import { relaxed } from "../src/relaxed.ts";
import { attention } from "../src/ops/attention.ts";
import { createProblem } from "../src/problem.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";
import { deterministic } from "../src/wasm/deterministic.ts";
import { deterministicFull } from "../src/wasm/full.ts";
import { instantiate, type Kernels } from "../src/wasm/load.ts";
import { attentionSuite } from "./suites/attention.ts";

/** exp: 2.5 ulp, and the product with log2 e and the difference round; tanh: 4 ulp; an ulp is at most 2u. */
const float32 = { u: 2 ** -24, exp: 5, tanh: 8, least: 2 ** -126 };

function suite(name: string, build: Kernels, scalar: boolean): void {
  const engine = instantiate(build);
  attentionSuite(
    name,
    (q, k, v, options) => attention(engine, createProblem(q, k, v, options), { scalar }),
    float32,
  );
}

suite("deterministic kernels", deterministic, false);
suite("deterministic kernels, scalar", deterministicFull, true);
if (hasRelaxedSimd()) suite("relaxed kernels", relaxed, false);
