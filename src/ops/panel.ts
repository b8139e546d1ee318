/**
 * Keys and values of one (batch, key/value head) → packed panels in linear memory, in slices that stay in L2.
 *
 * V: 0·∞ is NaN, so tiles of 64 keys that hold ∞ or NaN are marked for the careful kernel. O before the division by l
 * may be 2^8·M times |V|: where that could overflow, V is packed times 2^-40 and the result multiplied back, a choice
 * made from the data of the whole head alone, exact but for what underflows next to values beyond 2^88.
 */
import type { Problem } from "../problem.ts";
import type { View } from "../tensor.ts";
import type { Engine } from "../wasm/load.ts";
import { inPlace, type Stage, stageRows } from "./stage.ts";

/** Bits of float32 +∞ and of 2^88. */
const INFINITE = 0x7f800000;
const LARGE = (127 + 88) << 23;
export const V_SCALE = 2 ** -40;

export interface Panel {
  readonly k: number;
  readonly v: number;
  /** One int32 for each tile of 64 keys. */
  readonly poison: number;
  /** Keys that fit. */
  readonly keys: number;
}

/** Packs K of keys start … end of (b, g). */
export function loadKeys(
  engine: Engine,
  problem: Problem,
  panel: Panel,
  stage: Stage,
  b: number,
  g: number,
  start: number,
  end: number,
): void {
  const { D, k } = problem;
  eachSlice(engine, problem, k, stage, b, g, start, end, (j, count, at) => {
    engine.kernels.pack_k_f32(at, D, count, D, panel.k + (j - start) * D * 4);
  });
}

/** Packs V of keys start … end of (b, g), times `mul`. Returns whether some tile is poisoned, and V's largest bits. */
export function loadValues(
  engine: Engine,
  problem: Problem,
  panel: Panel,
  stage: Stage,
  b: number,
  g: number,
  start: number,
  end: number,
  mul: number,
): { poisoned: boolean; bits: number } {
  const { kernels, arena } = engine;
  const { E, v } = problem;
  if (E === 0) return { poisoned: false, bits: 0 };
  const strips = (E + 7) >> 3;
  let poisoned = false;
  let bits = 0;
  const marks = arena.i32(panel.poison, (panel.keys >> 6) + 1);
  marks.fill(0);
  eachSlice(engine, problem, v, stage, b, g, start, end, (j, count, at) => {
    const found = kernels.max_bits_f32(at, E, count, E);
    if (found >= INFINITE) {
      poisoned = true;
      for (let x = 0; x < count; x += 64) {
        const rows = Math.min(64, count - x);
        const tile = kernels.max_bits_f32(at + x * E * 4, E, rows, E);
        marks[(j - start + x) >> 6] = tile >= INFINITE ? 1 : 0;
      }
    }
    bits = Math.max(bits, found >= INFINITE ? finiteBits(engine, at, E, count) : found);
    const tile = (j - start) >> 6;
    kernels.pack_v_f32(at, E, count, E, panel.v + tile * strips * 2048, 0, mul);
  });
  return { poisoned, bits };
}

/** What V of (b, g) has to be multiplied by, from its largest finite value among keys start … end. */
export function valueScale(bits: number): number {
  return bits >= LARGE ? V_SCALE : 1;
}

/** Bits of the largest finite |v| among keys start … end, without packing. */
export function scanValues(
  engine: Engine,
  problem: Problem,
  stage: Stage,
  b: number,
  g: number,
  start: number,
  end: number,
): number {
  const { E, v } = problem;
  let bits = 0;
  if (E === 0) return bits;
  eachSlice(engine, problem, v, stage, b, g, start, end, (_, count, at) => {
    bits = Math.max(bits, finiteBits(engine, at, E, count));
  });
  return bits;
}

/** Rows start … end of K or V of (b, g), slice after slice on the stage, or where they lie. */
export function eachSlice(
  engine: Engine,
  { keyStart }: Problem,
  source: View,
  stage: Stage,
  b: number,
  g: number,
  start: number,
  end: number,
  f: (j: number, count: number, at: number) => void,
): void {
  const { offset, strides } = source;
  const head = offset + b * strides[0] + g * strides[1];
  const here = inPlace(engine, source);
  for (let j = start; j < end; j += stage.rows) {
    const count = Math.min(stage.rows, end - j);
    const first = head + (keyStart[b] + j) * strides[2];
    if (!here) stageRows(engine, stage, source, first, count, 0);
    f(j, count, here ? here + first * 4 : stage.at);
  }
}

/** Bits of the largest finite |x| of staged rows; the common case, where all are finite, is the kernel's. */
export function finiteBits({ arena, kernels }: Engine, at: number, width: number, rows: number): number {
  const all = kernels.max_bits_f32(at, width, rows, width);
  if (all < INFINITE) return all;
  let bits = 0;
  for (const word of arena.i32(at, width * rows)) {
    const magnitude = word & 0x7fffffff;
    if (magnitude < INFINITE && magnitude > bits) bits = magnitude;
  }
  return bits;
}
