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
import type { Buffers } from "./buffers.ts";
import { elementAt, inPlace, stageRows } from "./stage.ts";

/** Bits of float32 +∞ and of 2^88. */
const INFINITE = 0x7f800000;
export const LARGE = (127 + 88) << 23;
export const V_SCALE = 2 ** -40;

export interface Panel {
  readonly k: number;
  readonly v: number;
  /** One int32 for each tile of 64 keys. */
  readonly poison: number;
  /** Keys that fit. */
  readonly keys: number;
}

/** A call's tensors on their way into its buffers. */
export class Panels {
  protected readonly engine: Engine;
  protected readonly problem: Problem;
  readonly buffers: Buffers;

  constructor(engine: Engine, problem: Problem, buffers: Buffers) {
    this.engine = engine;
    this.problem = problem;
    this.buffers = buffers;
  }

  /** Packs K of keys start … end of (b, g). */
  loadKeys(b: number, g: number, start: number, end: number): void {
    const { engine: { kernels }, problem: { D }, buffers: { panel } } = this;
    this.eachSlice(this.problem.k, b, g, start, end, (j, count, at) => {
      kernels.pack_k_f32(at, D, count, D, panel.k + (j - start) * D * 4);
    });
  }

  /** Packs V of keys start … end of (b, g), times `mul`. Returns whether some tile is poisoned, and V's largest bits. */
  loadValues(
    b: number,
    g: number,
    start: number,
    end: number,
    mul: number,
  ): { poisoned: boolean; bits: number } {
    const { engine, problem: { E }, buffers: { panel, strips } } = this;
    const { kernels, arena } = engine;
    let poisoned = false;
    let bits = 0;
    this.eachSlice(this.problem.v, b, g, start, end, (j, count, at) => {
      const tile = (j - start) >> 6;
      const found = kernels.pack_v_f32(at, E, count, E, panel.v + tile * strips * 2048, 0, mul);
      if (found >= INFINITE) {
        const marks = arena.i32(panel.poison, (panel.keys >> 6) + 1);
        if (!poisoned) marks.fill(0);
        poisoned = true;
        for (let x = 0; x < count; x += 64) {
          const rows = Math.min(64, count - x);
          marks[tile + (x >> 6)] = kernels.max_bits_f32(at + x * E * 4, E, rows, E) >= INFINITE ? 1 : 0;
        }
      }
      bits = Math.max(bits, found >= INFINITE ? finiteBits(engine, at, E, count) : found);
    });
    return { poisoned, bits };
  }

  /** Bits of the largest finite |v| among keys start … end of (b, g), without packing. */
  scanValues(b: number, g: number, start: number, end: number): number {
    let bits = 0;
    this.eachSlice(this.problem.v, b, g, start, end, (_, count, at) => {
      bits = Math.max(bits, finiteBits(this.engine, at, this.problem.E, count));
    });
    return bits;
  }

  /** Rows start … end of K or V of (b, g), slice after slice on the stage, or where they lie. */
  protected eachSlice(
    source: View,
    b: number,
    g: number,
    start: number,
    end: number,
    f: (j: number, count: number, at: number) => void,
  ): void {
    const { engine, problem: { keyStart }, buffers: { stage } } = this;
    if (source.shape[3] === 0) return;
    const here = inPlace(engine, source);
    for (let j = start; j < end; j += stage.rows) {
      const count = Math.min(stage.rows, end - j);
      const first = elementAt(source, b, g, keyStart[b] + j);
      if (!here) stageRows(engine, stage, source, first, count, 0);
      f(j, count, here ? here + first * 4 : stage.at);
    }
  }
}

/** What V of (b, g) has to be multiplied by, from the bits of its largest finite value. */
export function valueScale(bits: number): number {
  return bits >= LARGE ? V_SCALE : 1;
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
