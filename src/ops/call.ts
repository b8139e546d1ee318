/**
 * One call of the fused forward: its buffers in linear memory, and the moves on them: load a panel of keys, load a
 * chunk of rows, attend, finish, write scores or weights. What order they come in is src/ops/forward.ts's business.
 */
import { dropoutRow, dropoutThreshold } from "../dropout.ts";
import type { Problem } from "../problem.ts";
import { placeLse, type Placement, placeOut } from "../result.ts";
import { sizeOf } from "../tensor.ts";
import { roundUp } from "../wasm/arena.ts";
import type { Engine } from "../wasm/load.ts";
import { fillBlocks } from "./blocks.ts";
import { allocate, type Element, FLOAT32, type ForwardOptions } from "./buffers.ts";
import { halvings, LOG2E, signAndSize, tiny } from "./halvings.ts";
import { Panels } from "./panel.ts";
import { fillBounds, headsAlike, place, type Span } from "./rows.ts";
import { copyRows, elementAt, inPlace, stageRows } from "./stage.ts";
import type { Steps } from "./steps.ts";
import * as task from "./task.ts";
import * as word from "./word.ts";

export interface ForwardResult {
  /** In the order of placeOut(problem). */
  readonly out: Float32Array;
  /** In the order of placeLse(problem), natural logarithm. */
  readonly lse: Float32Array | null;
  /** Scores or weights, [B,H,N,M]: where a key isn't seen, −∞ or 0. */
  readonly written: Float32Array | null;
  /** Tiles of 4 rows × 64 keys that were computed, and those of them that had to be masked. */
  readonly tiles: { visited: number; masked: number };
}

/** What another arithmetic than float32 changes (src/ops/quantised.ts). */
export interface Variant {
  readonly element: Element;
  /** Join those of the task. */
  readonly flags: number;
}

const NONE: readonly null[] = [];
const EXACT: Variant = { element: FLOAT32, flags: 0 };

export class ForwardCall extends Panels {
  readonly result: ForwardResult;
  /** The scale is sign·size/2^halved; size is 1 where sign is 0. */
  protected sign = 1;
  protected size = 1;
  /** Where not all rows go to the results: does row r of (b, g), whose sum of weights is l? */
  protected keeps: ((r: number, l: number) => boolean) | null = null;
  readonly #places: { out: Placement; lse: Placement };
  readonly #flags: number;
  /** How often Q is halved as it is packed (halvings.ts). */
  #halved = 0;
  /** Whether all heads see the same keys, whose bounds are in memory, and what they span. */
  readonly #alike: boolean;
  #bounded = { b: -1, r0: 0, count: 0 };
  #span: Span = { lo: 0, hi: 0, sink: 0 };

  /** `result`: where another call's results go too. */
  constructor(
    engine: Engine,
    problem: Problem,
    options: ForwardOptions,
    { element, flags }: Variant = EXACT,
    result?: ForwardResult,
  ) {
    super(engine, problem, allocate(engine.arena, problem, options, element));
    const { B, H, N, M, D, E, bias, semantics, softcap, alibiSlopes, sink, dropout, blocks } = problem;
    const places = this.#places = { out: placeOut(problem), lse: placeLse(problem) };
    const { written } = options;
    this.result = result ?? {
      out: new Float32Array(sizeOf(places.out.shape)),
      lse: problem.want.lse ? new Float32Array(sizeOf(places.lse.shape)).fill(-Infinity) : null,
      written: written ? new Float32Array(B * H * N * M).fill(written === "scores" ? -Infinity : 0) : null,
      tiles: { visited: 0, masked: 0 },
    };
    this.#alike = headsAlike(problem);
    const { buffers } = this;

    const scores = bias !== null || softcap > 0 || alibiSlopes !== null || written === "scores";
    this.#flags = flags | (options.scalar ? task.SCALAR : 0) |
      (scores ? task.SCORES : 0) |
      (semantics.alibi === "relative" ? task.RELATIVE : 0) |
      (semantics.alibi === "bias" ? task.SLOPED_BIAS : 0) |
      (semantics.softcap === "after-alibi" ? task.CAP_LAST : 0) |
      (semantics.lseIncludesSink ? task.SINK_IN_LSE : 0);
    const { at } = buffers;
    const to = task.openTask(engine.arena, at, buffers.panel, D, E, buffers.strips, buffers.br);
    const words = this.#words;
    this.#floats[to + word.softcap] = softcap;
    this.#floats[to + word.keep] = keep(problem);
    // Computed only where it is asked for: 6 ns a row.
    if (this.result.lse) words[to + word.lse_p] = at.lse;
    if (alibiSlopes) words[to + word.slope_p] = at.slope;
    if (sink) words[to + word.sink_p] = at.sink;
    if (buffers.bias) {
      words[to + word.bias_p] = buffers.bias.at;
      words[to + word.bias_step] = buffers.bias.rows.step;
    }
    if (buffers.mask) {
      words[to + word.mask_p] = buffers.mask.at;
      words[to + word.mask_step] = buffers.mask.rows.step;
    }
    if (blocks) {
      words[to + word.blocks_p] = at.blocks;
      words[to + word.blocks_ld] = buffers.keys / 64;
    }
    if (dropout) {
      words[to + word.drop_p] = at.drop;
      words[to + word.threshold] = dropoutThreshold(dropout.p);
    }
    this.#scale(0);
  }

  /** What is needed of (b, g) before anything of it is packed; in steps, if it is anything. */
  enter(b: number, g: number): Steps<void> | null {
    return tiny(this.problem.scale) ? this.#halve(b, g) : null;
  }

  *#halve(b: number, g: number): Steps<void> {
    const { engine, problem, buffers } = this;
    const times = yield* halvings(engine, problem, b, g, buffers.stage);
    if (times !== this.#halved) this.#scale(times);
  }

  #scale(halved: number): void {
    this.#halved = halved;
    [this.sign, this.size] = signAndSize(this.problem.scale * 2 ** halved);
    const floats = this.#floats, to = this.#word;
    floats[to + word.scale] = this.size;
    floats[to + word.c] = this.#flags & task.SCORES ? LOG2E : this.size * LOG2E;
  }

  /** The call that computes those rows of (b, g) that this one couldn't, into the same results. */
  rest(): ForwardCall | null {
    return null;
  }

  /** Q, bounds, slopes, sinks and dropout keys of a chunk. */
  loadRows(b: number, g: number, r0: number, count: number): Span {
    const { H, group, queryStart, queryLength, alibiSlopes, sink, dropout } = this.problem;
    const { stage, at } = this.buffers;
    const { q } = this.problem;
    const here = inPlace(this.engine, q);
    // The rows of a group follow one another, or there is one head in it.
    const direct = here && (group === 1 || q.strides[1] === queryLength[b] * q.strides[2]);
    if (direct) {
      this.packRows(0, count, here + elementAt(q, b, g * group, queryStart[b] + r0) * 4);
    }
    for (let x = direct ? count : 0; x < count;) {
      // As many rows as the stage holds, head after head.
      const first = x;
      while (x < count && x - first < stage.rows) {
        const [h, i, left] = place(this.problem, b, g, r0 + x);
        const run = Math.min(left, count - x, stage.rows - (x - first));
        stageRows(this.engine, stage, q, elementAt(q, b, h, queryStart[b] + i), run, x - first);
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
    const last = this.#bounded;
    if (!this.#alike || last.b !== b || last.r0 !== r0 || last.count !== count) {
      const bounds = this.#view(this.buffers.at.bounds, Math.ceil(count / 4) * 16);
      this.#bounded = { b, r0, count };
      this.#span = fillBounds(bounds, this.problem, b, g, r0, count);
    }
    return this.#span;
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
    const words = this.#words, at = this.#word;
    words[at + word.poison_p] = poisoned ? this.buffers.panel.poison : 0;
    words[at + word.flags] = this.#flags | flags;
    words[at + word.visited] = words[at + word.masked] = 0;
    this.run(this.buffers.at.task);
    const { tiles } = this.result;
    tiles.visited += words[at + word.visited];
    tiles.masked += words[at + word.masked];
  }

  protected run(task: number): void {
    this.engine.kernels.forward_f32(task);
  }

  /** States → results, and out to the caller's arrays. */
  finish(b: number, g: number, r0: number, count: number, scale: number): void {
    const { E } = this.problem;
    const { at } = this.buffers;
    this.#words[this.#word + word.rows] = count;
    this.#floats[this.#word + word.unscale] = keep(this.problem) / scale;
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
    const ld = this.buffers.keys * 4;
    this.#enter(b, g, r0, count, key0, keys);
    this.#words[this.#word + word.flags] = this.#flags;
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
      at.q + first * roundUp(D, FLOAT32.wide) * 4,
      this.sign * 2 ** -this.#halved,
    );
  }

  /** Bias and masks of a chunk × panel. */
  #enter(b: number, g: number, r0: number, count: number, key0: number, keys: number): void {
    const { at, bias, mask } = this.buffers;
    const padded = Math.ceil(count / 4) * 4;
    for (const staged of bias || mask ? [bias, mask] : NONE) {
      if (!staged) continue;
      const pointers = this.#view(staged.at, padded);
      const bounds = this.#view(at.bounds, padded * 4);
      staged.rows.fill(this.engine, this.problem, pointers, bounds, b, g, r0, count, key0, keys);
    }
    const { blocks } = this.problem;
    if (blocks) {
      const ld = this.buffers.keys / 64;
      const words = this.#view(at.blocks, padded * ld * 2);
      fillBlocks(words, ld, this.problem, blocks, b, g, r0, count, key0, keys);
    }
    // Field by field: 0.1 µs a head where a record takes 0.4.
    const words = this.#words, task = this.#word;
    words[task + word.rows] = count;
    words[task + word.key0] = key0;
    words[task + word.keys] = keys;
    words[task + word.k_tile] = words[task + word.v_tile] = -1;
  }

  /** Where the task starts among the words. */
  get #word(): number {
    return this.buffers.at.task >> 2;
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
}

/** What dropout multiplies the kept weights with. */
function keep({ dropout }: Problem): number {
  return dropout ? 1 / (1 - dropout.p) : 1;
}
