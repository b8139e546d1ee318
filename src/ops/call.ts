/**
 * One call of the fused forward: its buffers in linear memory, and the moves on them: load a panel of keys, load a
 * chunk of rows, attend, finish, write scores or weights. What order they come in is src/ops/forward.ts's business.
 */
import { dropoutRow, dropoutThreshold } from "../dropout.ts";
import type { Problem } from "../problem.ts";
import { placeLse, type Placement, placeOut } from "../result.ts";
import { sizeOf } from "../tensor.ts";
import type { Engine } from "../wasm/load.ts";
import { fillBlocks } from "./blocks.ts";
import { allocate, type Buffers, type Element, FLOAT32, type ForwardOptions } from "./buffers.ts";
import { halvings } from "./halvings.ts";
import { loadKeys, loadValues, scanValues } from "./panel.ts";
import { fillBounds, headsAlike, place, type Span } from "./rows.ts";
import { copyRows, inPlace, stageRows } from "./stage.ts";
import * as task from "./task.ts";

/** float32(log2 e), so that scale·log2(e) is rounded once. */
const LOG2E = 1.4426950408889634;

export interface ForwardResult {
  /** In the order of placeOut(problem). */
  readonly out: Float32Array;
  /** In the order of placeLse(problem), natural logarithm. */
  readonly lse: Float32Array | null;
  /** Scores or weights, [B,H,N,M]: where a key isn't seen, −∞ or 0. */
  readonly written: Float32Array | null;
  /** Tiles of 4 rows × 64 keys that were computed, and those of them that had to be masked. */
  readonly tiles: { visited: number; masked: number };
  /** The exports that computed it. */
  readonly kernels: Set<ForwardKernel>;
}

type Entry = "forward_f32" | "forward_i16";
/** Tiles of other codes replace those of i16 within forward_i16; V in E4M3 goes to pv_f32_4x8. */
export type ForwardKernel = Entry | "qk_i8_4x16" | "pv_i8_4x16" | "qk_i4_4x32" | "unpack_v_e4m3";

/** What another arithmetic than float32 changes (src/ops/quantised.ts). */
export interface Variant {
  readonly element: Element;
  /** Join those of the task. */
  readonly flags: number;
}

const EXACT: Variant = { element: FLOAT32, flags: 0 };

export class ForwardCall {
  readonly result: ForwardResult;
  /** Query rows that `loadRows` takes, keys that `loadKeys` takes. */
  readonly rows: number;
  readonly keys: number;
  protected readonly kernel: Entry = "forward_f32";
  protected readonly engine: Engine;
  protected readonly problem: Problem;
  protected readonly buffers: Buffers;
  /** The scale is sign·size/2^halved; size is 1 where sign is 0. */
  protected sign = 1;
  protected size = 1;
  /** Where not all rows go to the results: does row r of (b, g), whose sum of weights is l? */
  protected keeps: ((r: number, l: number) => boolean) | null = null;
  readonly #places: { out: Placement; lse: Placement };
  readonly #flags: number;
  /** How often Q is halved as it is packed (halvings.ts). */
  #halved = 0;
  /** Whether all heads see the same keys, and whose bounds are in memory. */
  readonly #alike: boolean;
  #bounded: { readonly key: string | null; readonly span: Span } | null = null;

  /** `result`: where another call's results go too. */
  constructor(
    engine: Engine,
    problem: Problem,
    options: ForwardOptions,
    { element, flags }: Variant = EXACT,
    result?: ForwardResult,
  ) {
    const { arena } = engine;
    const { B, H, N, M, D, E, bias, semantics, softcap, alibiSlopes, sink, dropout, blocks } = problem;
    this.engine = engine;
    this.problem = problem;
    const places = this.#places = { out: placeOut(problem), lse: placeLse(problem) };
    const { written } = options;
    this.result = result ?? {
      out: new Float32Array(sizeOf(places.out.shape)),
      lse: problem.want.lse ? new Float32Array(sizeOf(places.lse.shape)).fill(-Infinity) : null,
      written: written ? new Float32Array(B * H * N * M).fill(written === "scores" ? -Infinity : 0) : null,
      tiles: { visited: 0, masked: 0 },
      kernels: new Set(),
    };
    const buffers = this.buffers = allocate(arena, problem, options, element);
    this.#alike = headsAlike(problem);
    this.rows = buffers.rows;
    this.keys = buffers.keys;

    const scores = bias !== null || softcap > 0 || alibiSlopes !== null || written === "scores";
    this.#flags = flags | (options.scalar ? task.SCALAR : 0) |
      (scores ? task.SCORES : 0) |
      (semantics.alibi === "relative" ? task.RELATIVE : 0) |
      (semantics.alibi === "bias" ? task.SLOPED_BIAS : 0) |
      (semantics.softcap === "after-alibi" ? task.CAP_LAST : 0) |
      (semantics.lseIncludesSink ? task.SINK_IN_LSE : 0);
    const { at, panel } = buffers;
    // One plain literal, here and wherever a call passes: on Node 20 one of several spreads costs 15 µs and garbage.
    this.write({
      q_p: at.q,
      k_p: panel.k,
      v_p: panel.v,
      bounds_p: at.bounds,
      scratch_p: at.scratch,
      m_p: at.m,
      l_p: at.l,
      o_p: at.o,
      out_p: at.o,
      // 6 ns a row.
      lse_p: this.result.lse ? at.lse : 0,
      D,
      E,
      strips: buffers.strips,
      br: buffers.br,
      softcap,
      slope_p: alibiSlopes ? at.slope : 0,
      bias_p: buffers.bias?.at ?? 0,
      bias_step: buffers.bias?.rows.step ?? 0,
      mask_p: buffers.mask?.at ?? 0,
      mask_step: buffers.mask?.rows.step ?? 0,
      sink_p: sink ? at.sink : 0,
      blocks_p: blocks ? at.blocks : 0,
      blocks_ld: this.keys / 64,
      drop_p: dropout ? at.drop : 0,
      threshold: dropout ? dropoutThreshold(dropout.p) : 0,
      keep: keep(problem),
    });
    this.#scale(0);
  }

  /** What is needed of (b, g) before anything of it is packed; in steps. */
  *enter(b: number, g: number): Generator<number, void> {
    const { engine, problem, buffers } = this;
    const times = yield* halvings(engine, problem, b, g, buffers.stage);
    if (times !== this.#halved) this.#scale(times);
  }

  #scale(halved: number): void {
    this.#halved = halved;
    const size = Math.abs(this.problem.scale) * 2 ** halved;
    // A negative scale negates Q, zero makes it 0: the softmax's c = scale·log2(e) must be positive and not underflow.
    const zero = Math.fround(size * LOG2E) === 0;
    this.sign = zero ? 0 : Math.sign(this.problem.scale);
    this.size = zero ? 1 : size;
    this.write({ scale: this.size, c: this.#flags & task.SCORES ? LOG2E : this.size * LOG2E });
  }

  /** The call that computes those rows of (b, g) that this one couldn't, into the same results. */
  rest(): ForwardCall | null {
    return null;
  }

  /** Packs K of keys start … end of (b, g). */
  loadKeys(b: number, g: number, start: number, end: number): void {
    loadKeys(this.engine, this.problem, this.buffers.panel, this.buffers.stage, b, g, start, end);
  }

  /** Packs V of keys start … end of (b, g) times `scale`: whether ∞ or NaN is among them, and the largest bits. */
  loadValues(b: number, g: number, start: number, end: number, scale: number) {
    const { panel, stage } = this.buffers;
    return loadValues(this.engine, this.problem, panel, stage, b, g, start, end, scale);
  }

  /** The largest bits of V of keys start … end of (b, g), without packing. */
  scanValues(b: number, g: number, start: number, end: number): number {
    return scanValues(this.engine, this.problem, this.buffers.stage, b, g, start, end);
  }

  /** Q, bounds, slopes, sinks and dropout keys of a chunk. */
  loadRows(b: number, g: number, r0: number, count: number): Span {
    const { q, H, group, queryStart, queryLength, alibiSlopes, sink, dropout } = this.problem;
    const { stage, at } = this.buffers;
    const here = inPlace(this.engine, q);
    // The rows of a group follow one another, or there is one head in it.
    const direct = here && (group === 1 || q.strides[1] === queryLength[b] * q.strides[2]);
    if (direct) {
      const first = q.offset + b * q.strides[0] + g * group * q.strides[1] +
        (queryStart[b] + r0) * q.strides[2];
      this.packRows(0, count, here + first * 4);
    }
    for (let x = direct ? count : 0; x < count;) {
      // As many rows as the stage holds, head after head.
      const first = x;
      while (x < count && x - first < stage.rows) {
        const [h, i, left] = place(this.problem, b, g, r0 + x);
        const run = Math.min(left, count - x, stage.rows - (x - first));
        const element = q.offset + b * q.strides[0] + h * q.strides[1] +
          (queryStart[b] + i) * q.strides[2];
        stageRows(this.engine, stage, q, element, run, x - first);
        x += run;
      }
      this.packRows(first, x - first, stage.at);
    }
    if (alibiSlopes || sink || dropout) {
      for (let x = 0; x < Math.ceil(count / 4) * 4; x++) {
        const [h, i] = place(this.problem, b, g, r0 + Math.min(x, count - 1));
        if (alibiSlopes) this.#floats[(at.slope >> 2) + x] = alibiSlopes[b * H + h];
        if (sink) this.#floats[(at.sink >> 2) + x] = sink[h];
        if (dropout) {
          const { k0, k1 } = dropoutRow(dropout.seed, b, h, i);
          this.#words[(at.drop >> 2) + 2 * x] = k0;
          this.#words[(at.drop >> 2) + 2 * x + 1] = k1;
        }
      }
    }
    return this.#bounds(b, g, r0, count);
  }

  /** 25 to 50 ns a row: once for all heads, unless they see different keys. */
  #bounds(b: number, g: number, r0: number, count: number): Span {
    const key = this.#alike ? `${b} ${r0} ${count}` : null;
    if (key === null || this.#bounded?.key !== key) {
      const bounds = this.#view(this.buffers.at.bounds, Math.ceil(count / 4) * 16);
      this.#bounded = { key, span: fillBounds(bounds, this.problem, b, g, r0, count) };
    }
    return this.#bounded.span;
  }

  /** Rows r0 … of (b, g) against the loaded panel, whose first key is key0; `flags` on top of the call's own. */
  attend(
    b: number,
    g: number,
    r0: number,
    count: number,
    key0: number,
    keys: number,
    poisoned: boolean,
    flags: number,
  ): void {
    this.#enter(b, g, r0, count, key0, keys);
    this.write({
      poison_p: poisoned ? this.buffers.panel.poison : 0,
      flags: this.#flags | flags,
      visited: 0,
      masked: 0,
    });
    this.engine.kernels[this.kernel](this.buffers.at.task);
    this.result.kernels.add(this.kernel);
    const { tiles } = this.result;
    const at = this.buffers.at.task >> 2;
    tiles.visited += this.#words[at + task.INDEX.visited];
    tiles.masked += this.#words[at + task.INDEX.masked];
  }

  /** States → results, and out to the caller's arrays. */
  finish(b: number, g: number, r0: number, count: number, scale: number): void {
    const { E } = this.problem;
    const { at } = this.buffers;
    this.write({ rows: count, unscale: keep(this.problem) / scale });
    this.engine.kernels.finish_f32(at.task);
    const { out, lse } = this.#places;
    for (let x = 0; x < count;) {
      const [h, i, left] = place(this.problem, b, g, r0 + x);
      const run = this.keeps ? 1 : Math.min(left, count - x);
      if (this.keeps && !this.keeps(r0 + x, this.#floats[(at.l >> 2) + x])) {
        x++;
        continue;
      }
      const o = out.base[b] + h * out.head + i * out.row;
      copyRows(this.result.out, o, out.row, this.#floats, (at.o >> 2) + x * E, E, E, run);
      if (this.result.lse) {
        const first = lse.base[b] + h * lse.head + i * lse.row;
        copyRows(this.result.lse, first, lse.row, this.#floats, (at.lse >> 2) + x, 1, 1, run);
      }
      x += run;
    }
  }

  /** Scores, or after `finish` weights, of the rows against the loaded panel; out to the caller's array. */
  writeOut(
    b: number,
    g: number,
    r0: number,
    count: number,
    key0: number,
    keys: number,
    weights: boolean,
  ): void {
    const { H, N, M } = this.problem;
    const { at } = this.buffers;
    const ld = this.keys * 4;
    this.#enter(b, g, r0, count, key0, keys);
    this.write({ flags: this.#flags });
    this.engine.kernels.weights_f32(at.task, at.written, ld, weights ? 1 : 0);
    const target = this.result.written as Float32Array;
    for (let x = 0; x < count; x++) {
      const [h, i] = place(this.problem, b, g, r0 + x);
      const from = (at.written + x * ld) >> 2;
      target.set(this.#floats.subarray(from, from + keys), ((b * H + h) * N + i) * M + key0);
    }
  }

  /** `count` rows of Q at `from` become rows `first` … of the chunk. */
  protected packRows(first: number, count: number, from: number): void {
    const { D } = this.problem;
    const { at } = this.buffers;
    this.engine.kernels.pack_q_f32(
      from,
      D,
      count,
      D,
      at.q + first * D * 4,
      this.sign * 2 ** -this.#halved,
    );
  }

  /** Bias and masks of a chunk × panel. */
  #enter(b: number, g: number, r0: number, count: number, key0: number, keys: number): void {
    const { at, bias, mask } = this.buffers;
    const padded = Math.ceil(count / 4) * 4;
    const bounds = this.#view(at.bounds, padded * 4);
    for (const staged of [bias, mask]) {
      if (!staged) continue;
      const pointers = this.#view(staged.at, padded);
      staged.rows.fill(this.engine, this.problem, pointers, bounds, b, g, r0, count, key0, keys);
    }
    const { blocks } = this.problem;
    if (blocks) {
      const ld = this.keys / 64;
      const words = this.#view(at.blocks, padded * ld * 2);
      fillBlocks(words, ld, this.problem, blocks, b, g, r0, count, key0, keys);
    }
    this.write({ rows: count, key0, keys, k_tile: -1, v_tile: -1 });
  }

  get #words(): Int32Array {
    return this.engine.arena.words;
  }

  get #floats(): Float32Array {
    return this.engine.arena.floats;
  }

  #view(pointer: number, length: number): Int32Array {
    return this.#words.subarray(pointer >> 2, (pointer >> 2) + length);
  }

  protected write(fields: Parameters<typeof task.writeTask>[3]): void {
    task.writeTask(this.#words, this.#floats, this.buffers.at.task, fields);
  }
}

/** What dropout multiplies the kept weights with. */
function keep({ dropout }: Problem): number {
  return dropout ? 1 / (1 - dropout.p) : 1;
}
