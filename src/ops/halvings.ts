/**
 * Products q·k beyond float32 that a tiny scale brings back: Q goes in halved so often that no sum of them overflows, and
 * the scale doubled as often, which is exact but for what underflows beside products of 2^127.
 *
 * Only scales below 2^-28 are looked at: above, a score that overflows is beyond 2^100 in natural units, and its row has
 * one key left however it is computed.
 */
import type { Problem } from "../problem.ts";
import type { View } from "../tensor.ts";
import type { Engine } from "../wasm/load.ts";
import { finiteBits } from "./panel.ts";
import { elementAt, type Stage, stageRows } from "./stage.ts";

export const LOG2E = 1.4426950408889634;

/**
 * A scale as the kernels take it, sign·size: a negative one negates Q, zero makes it 0, since the softmax's c =
 * size·log2(e) must be positive and not underflow.
 */
export function signAndSize(scale: number): [sign: number, size: number] {
  const size = Math.abs(scale);
  return Math.fround(size * LOG2E) === 0 ? [0, 1] : [Math.sign(scale), size];
}

/** Whether Q may have to be halved. */
export function tiny(scale: number): boolean {
  return scale !== 0 && Math.abs(scale) < 2 ** -28;
}

/** Slices between two yields, ≈ 1 ms. */
const SLICES = 16;

/** How often Q of (b, g) has to be halved. */
export function* halvings(
  engine: Engine,
  problem: Problem,
  b: number,
  g: number,
  stage: Stage,
): Generator<number, number> {
  const { q, k, D, group, queryStart, keyStart, queryLength, keyLength } = problem;
  let queries = 0;
  for (let h = g * group; h < (g + 1) * group; h++) {
    queries = Math.max(queries, yield* exponent(engine, stage, q, b, h, queryStart[b], queryLength[b]));
  }
  const keys = yield* exponent(engine, stage, k, b, g, keyStart[b], keyLength[b]);
  return Math.max(0, queries + keys + Math.ceil(Math.log2(D)) - 127);
}

/** The least e with |x| < 2^e for the finite elements of rows start … start + rows; at least 0. */
function* exponent(
  engine: Engine,
  stage: Stage,
  source: View,
  b: number,
  h: number,
  start: number,
  rows: number,
): Generator<number, number> {
  const D = source.shape[3];
  let bits = 0, slices = 0;
  for (let i = 0; i < rows; i += stage.rows) {
    const count = Math.min(stage.rows, rows - i);
    stageRows(engine, stage, source, elementAt(source, b, h, start + i), count, 0);
    bits = Math.max(bits, finiteBits(engine, stage.at, D, count));
    if (++slices % SLICES === 0) yield 0;
  }
  return Math.max(0, (bits >> 23) - 126);
}
