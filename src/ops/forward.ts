/**
 * Exact forward, in float32 or as `problem.precision` says: streams a Problem through the fused kernel
 * (assembly/ops/forward.ts) in O(1) linear memory.
 *
 *   small and plain: small.ts; else, for each batch b, key/value head g   rows = the group's (head, query) pairs
 *     K and V fit one panel:   pack them once, then chunk after chunk of rows
 *     otherwise:               for each chunk of rows, panel after panel of the keys it may see
 *
 * Neither the chunk nor the panel changes a bit of the result. Per panel 2·M·(D + E) words are moved once for
 * `chunk` rows, 4·chunk·(D + E) flops a key: packing costs about 1 % at 512 rows.
 */
import type { Problem } from "../problem.ts";
import type { Engine } from "../wasm/load.ts";
import { blockRanges } from "./blocks.ts";
import type { ForwardOptions } from "./buffers.ts";
import { ForwardCall, type ForwardResult } from "./call.ts";
import { valueScale } from "./panel.ts";
import { QuantisedCall } from "./quantised.ts";
import { keyRanges, type Span } from "./rows.ts";
import { attendSmall } from "./small.ts";
import { finish } from "./steps.ts";
import { FIRST } from "./task.ts";

export type { ForwardOptions, ForwardResult };

/** Elements of V that a step looks at in search of the largest, ≈ 5 ms. */
const SCANNED = 2 ** 22;

/** O and lse of every row; rows without keys have O = 0 and lse = −∞ (or the sink). */
export function forward(engine: Engine, problem: Problem, options: ForwardOptions = {}): ForwardResult {
  return finish(forwardSteps(engine, problem, options));
}

/**
 * The same in steps of at most one chunk of rows against one panel of keys (≈ 10 ms): yields the share of rows done,
 * 0 to 1. Until the generator has returned, or `return()` has ended it, the engine belongs to it.
 */
export function* forwardSteps(
  engine: Engine,
  problem: Problem,
  options: ForwardOptions = {},
): Generator<number, ForwardResult> {
  const { B, G, queryLength, want } = problem;
  const all = want.probabilities ? { written: "weights" as const, ...options } : options;
  const total = queryLength.reduce((a, n) => a + n, 0);
  const mark = engine.arena.mark();
  try {
    const small = attendSmall(engine, problem, all);
    if (small) return small;
    engine.arena.release(mark);
    const call = problem.precision === null || problem.D === 0 || problem.E === 0
      ? new ForwardCall(engine, problem, all)
      : new QuantisedCall(engine, problem, all);
    for (let b = 0, before = 0; b < B; before += queryLength[b++]) {
      for (let g = 0; g < G; g++) {
        for (const share of attendHead(call, problem, b, g, all)) {
          yield (before + queryLength[b] * (g + share) / G) / total;
        }
      }
    }
    return call.result;
  } finally {
    engine.arena.release(mark);
  }
}

/** All rows that read key/value head g of batch b; yields the share of them that is done. */
function* attendHead(
  call: ForwardCall,
  problem: Problem,
  b: number,
  g: number,
  options: ForwardOptions,
): Generator<number, void> {
  const { written } = options;
  const before = call.enter(b, g);
  if (before) yield* before;
  const attends = written !== "scores";
  const rows = problem.queryLength[b] * problem.group;
  const end = problem.keyLength[b];
  const whole = attends && end <= call.buffers.keys ? loadWhole(call, b, g, end) : null;
  const scale = whole ? whole.scale : attends ? yield* scaleOf(call, problem, b, g) : 1;
  for (let r0 = 0; r0 < rows; r0 += call.buffers.rows) {
    const count = Math.min(call.buffers.rows, rows - r0);
    const span = call.loadRows(b, g, r0, count);
    const panels = whole ? [] : panelsOf(call, problem, b, g, r0, count, span);
    if (whole) call.attend(b, g, r0, count, 0, end, whole.poisoned, FIRST);
    // A chunk that sees no key still needs its empty states.
    else if (attends && panels.length === 0) call.attend(b, g, r0, count, 0, 0, false, FIRST);
    let flags = FIRST;
    for (const [key0, last] of attends ? panels : []) {
      call.loadKeys(b, g, key0, last);
      const { poisoned } = call.loadValues(b, g, key0, last, scale);
      call.attend(b, g, r0, count, key0, last - key0, poisoned, flags);
      flags = 0;
      yield r0 / rows;
    }
    if (attends) call.finish(b, g, r0, count, scale);
    for (const [key0, last] of !written ? [] : whole && end > 0 ? [[0, end] as const] : panels) {
      if (!whole) call.loadKeys(b, g, key0, last);
      call.writeOut(b, g, r0, count, key0, last - key0, attends);
      yield r0 / rows;
    }
    yield (r0 + count) / rows;
  }
  const rest = call.rest();
  if (rest) yield* attendHead(rest, problem, b, g, options);
}

/** [first, end) of each panel that some row of the chunk may see. */
function panelsOf(
  call: ForwardCall,
  problem: Problem,
  b: number,
  g: number,
  r0: number,
  count: number,
  span: Span,
): [number, number][] {
  const { blocks } = problem;
  let ranges = keyRanges(span);
  if (blocks) ranges = blockRanges(problem, blocks, b, g, r0, count, ranges);
  const panels: [number, number][] = [];
  for (const [start, stop] of ranges) {
    for (let key0 = start; key0 < stop; key0 += call.buffers.keys) {
      panels.push([key0, Math.min(stop, key0 + call.buffers.keys)]);
    }
  }
  return panels;
}

/** K and V of (b, g) as one panel. */
function loadWhole(call: ForwardCall, b: number, g: number, end: number) {
  call.loadKeys(b, g, 0, end);
  const { poisoned, bits } = call.loadValues(b, g, 0, end, 1);
  const scale = valueScale(bits);
  if (scale !== 1) call.loadValues(b, g, 0, end, scale);
  return { poisoned, scale };
}

/** What V of (b, g) has to be multiplied by, where it doesn't fit one panel. */
function* scaleOf(
  call: ForwardCall,
  { keyLength, E }: Problem,
  b: number,
  g: number,
): Generator<number, number> {
  const step = Math.max(1, Math.floor(SCANNED / Math.max(1, E)));
  let bits = 0;
  for (let start = 0; start < keyLength[b]; start += step) {
    bits = Math.max(bits, call.scanValues(b, g, start, Math.min(keyLength[b], start + step)));
    yield 0;
  }
  return valueScale(bits);
}
