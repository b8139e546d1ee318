/**
 * What a chunk of query rows brings along besides Q: which keys each row may see, ALiBi slopes, sink logits, and the
 * bias and mask of a panel of keys, staged row by row (each distinct row once), never as N×M.
 *
 * A row is a (head, query) pair of one key/value head: row r of (b, g) is head g·group + ⌊r/n⌋, query r mod n, with n
 * the queries of batch b.
 */
import { keyRange, OPEN, type Problem } from "../problem.ts";
import { elements, type View } from "../tensor.ts";
import type { Engine } from "../wasm/load.ts";
import { elementAt, stageRows } from "./stage.ts";

/** Keys that some row of a chunk may see: [lo, hi) and those below sink. */
export interface Span {
  lo: number;
  hi: number;
  sink: number;
}

/** Head and query of row r of (b, g), and how many rows of that head are left. */
export function place(
  { group, queryLength }: Problem,
  b: number,
  g: number,
  r: number,
): [h: number, i: number, left: number] {
  const n = queryLength[b];
  return [g * group + Math.floor(r / n), r % n, n - r % n];
}

/** True if every row sees all keys of its batch. */
function unbounded({ causal, chunk, left, right }: Problem): boolean {
  return !causal && chunk === 0 && allAre(left, OPEN) && allAre(right, OPEN);
}

/** True if what a row sees depends on its query alone. */
export function headsAlike({ left, right, sinkTokens }: Problem): boolean {
  return allAre(left, left[0]) && allAre(right, right[0]) && allAre(sinkTokens, sinkTokens[0]);
}

function allAre(values: Int32Array, n: number): boolean {
  for (let x = 0; x < values.length; x++) if (values[x] !== n) return false;
  return true;
}

/** Fills 4 int32 a row (lo, hi, sink, pos) for rows r0 … r0 + count, repeats the last up to a multiple of 4. */
export function fillBounds(
  target: Int32Array,
  problem: Problem,
  b: number,
  g: number,
  r0: number,
  count: number,
): Span {
  const n = problem.queryLength[b];
  const M = problem.keyLength[b];
  const open = unbounded(problem);
  const shift = problem.semantics.alibi === "relative" ? 0 : problem.offset[b];
  const span: Span = { lo: M, hi: 0, sink: 0 };
  let at = 0;
  for (let r = r0; r < r0 + count; r++, at += 4) {
    const i = r % n;
    let lo = 0, hi = M, sink = 0;
    if (!open) {
      const h = g * problem.group + Math.floor(r / n);
      ({ lo, hi } = keyRange(problem, b, h, i));
      if (lo > 0) sink = Math.min(problem.sinkTokens[h], hi);
    }
    target[at] = lo;
    target[at + 1] = hi;
    target[at + 2] = sink;
    target[at + 3] = i + shift;
    if (lo < hi) {
      if (lo < span.lo) span.lo = lo;
      if (hi > span.hi) span.hi = hi;
    }
    if (sink > span.sink) span.sink = sink;
  }
  for (; at % 16; at++) target[at] = target[at - 4];
  if (span.hi === 0) span.lo = 0;
  return span;
}

/** Tile-aligned ranges of keys, ascending, that cover a span. */
export function keyRanges({ lo, hi, sink }: Span): [number, number][] {
  const first = lo & ~63;
  if (sink >= first) return hi > 0 || sink > 0 ? [[0, Math.max(hi, sink)]] : [];
  const ranges: [number, number][] = [];
  if (sink > 0) ranges.push([0, (sink + 63) & ~63]);
  if (hi > first) ranges.push([first, hi]);
  return ranges;
}

/** Rows of a bias or mask [B,H,N,M] staged for a chunk × panel. */
export class RowStage {
  readonly step: number;
  readonly #view: View;
  readonly #at: number;
  readonly #pitch: number;

  /**
   * `at`: room for rows of `pitch` elements, float32 for a bias, bytes for a mask; beyond the last for one more of 16-bit
   * words, which stageRows lays behind the row that it decodes them into.
   */
  constructor(source: View, at: number, pitch: number) {
    this.#view = source;
    this.#at = at;
    this.#pitch = pitch;
    this.step = source.strides[3] === 0 ? 0 : 1;
  }

  /** Writes one address a row into `pointers` and the rows' elements for keys key0 … key0 + keys. */
  fill(
    engine: Engine,
    problem: Problem,
    pointers: Int32Array,
    bounds: Int32Array,
    b: number,
    g: number,
    r0: number,
    count: number,
    key0: number,
    keys: number,
  ): void {
    const { strides, dtype } = this.#view;
    const bytes = dtype === "bool" ? 1 : 4;
    const seen = new Map<number, number>();
    let next = this.#at;
    for (let x = 0; x < count; x++) {
      const [h, i] = place(problem, b, g, r0 + x);
      const first = elementAt(this.#view, b, h, i) + key0 * strides[3];
      let at = seen.get(first);
      if (at === undefined) {
        at = next;
        next += this.#pitch * bytes;
        seen.set(first, at);
        // A row that another head shares may be needed further than this one's bounds reach.
        const shared = strides[1] === 0 || strides[2] === 0;
        const length = this.step === 0 ? 1 : shared ? keys : Math.min(keys, bounds[x * 4 + 1] - key0);
        if (length > 0) this.#copy(engine, at, first, length);
      }
      pointers[x] = at;
    }
    for (let x = count; x % 4; x++) pointers[x] = pointers[x - 1];
  }

  #copy(engine: Engine, at: number, first: number, length: number): void {
    const { dtype, strides } = this.#view;
    if (dtype !== "bool") {
      stageRows(engine, { at, rows: 1 }, { ...this.#view, shape: [1, 1, 1, length] }, first, 1, 0);
      return;
    }
    const out = engine.arena.u8(at, length);
    const data = elements(this.#view) as Uint8Array;
    if (strides[3] === 1) out.set(data.subarray(first, first + length));
    else for (let j = 0; j < length; j++) out[j] = data[first + j * strides[3]];
  }
}
