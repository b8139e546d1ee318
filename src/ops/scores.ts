/**
 * The matrix in the middle of attention, for those who want to look at it: [B,H,N,M] at one of its stages, from the
 * kernels that the fused forward uses.
 *
 *   raw = scale·q·k → capped = softcap·tanh(raw/softcap) → biased = + ALiBi + bias, −∞ where hidden → weights P
 */
import { OPEN, type Problem } from "../problem.ts";
import type { Tensor } from "../tensor.ts";
import type { Engine } from "../wasm/load.ts";
import { attention } from "./attention.ts";
import { forward } from "./forward.ts";

/** How far scores are computed. */
export type ScoreStage = "raw" | "capped" | "biased" | "weights";

export const STAGES: readonly ScoreStage[] = ["raw", "capped", "biased", "weights"];

/** V of the problem isn't looked at; "raw" and "capped" know nothing of masks and lengths. */
export function scores(engine: Engine, problem: Problem, stage: ScoreStage): Tensor<Float32Array> {
  const { B, H, N, M, v } = problem;
  const keys = { ...problem, E: 0, v: { ...v, shape: [...v.shape.slice(0, 3), 0] } };
  const shape = [B, H, N, M];
  if (stage === "weights") {
    const want = { out: null, lse: false, probabilities: true };
    return attention(engine, { ...keys, want }).probabilities as Tensor<Float32Array>;
  }
  const bare = stage === "biased" ? keys : unmasked(keys, stage === "raw" ? 0 : problem.softcap);
  const { written } = forward(engine, bare, { written: "scores" });
  return { data: written as Float32Array, shape, dtype: "float32" };
}

function unmasked(problem: Problem, softcap: number): Problem {
  const { layout, M, keyLength, left, right } = problem;
  return {
    ...problem,
    softcap,
    ...{ bias: null, mask: null, blocks: null, alibiSlopes: null, causal: false, chunk: 0 },
    left: left.map(() => OPEN),
    right: right.map(() => OPEN),
    keyLength: layout === "thd" ? keyLength : keyLength.map(() => M),
  };
}
