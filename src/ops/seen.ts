/**
 * Which keys of a key/value head some query sees: only they may enter what all rows share, means and units. A key that
 * nobody sees contributes nothing, whatever it holds.
 *
 * Without mask and bias the answer is a range and the sink tokens. With them a key is looked for from the diagonal on,
 * where most masks let it be seen, and in the rows of blocks that list it; only hidden keys are looked for everywhere.
 */
import { keyRange, type Problem } from "../problem.ts";
import { elementReader, type View } from "../tensor.ts";

/** One byte a key, 1 if seen; null if all keyLength[b] are. */
export function seenKeys(problem: Problem, b: number, g: number): Uint8Array | null {
  const { group, keyLength, bias, mask, blocks } = problem;
  const masked = bias !== null || mask !== null || blocks !== null;
  const seen = new Uint8Array(keyLength[b]);
  for (let h = g * group; h < (g + 1) * group; h++) {
    if (masked) seeThroughMasks(problem, b, h, seen);
    else seeRange(problem, b, h, seen);
  }
  return seen.includes(0) ? seen : null;
}

/** Bounds only move right from row to row, by no more than a key: rows see what lies between the first's and the last's. */
function seeRange(problem: Problem, b: number, h: number, seen: Uint8Array): void {
  const n = problem.queryLength[b];
  if (n === 0) return;
  const { lo } = keyRange(problem, b, h, 0), { hi } = keyRange(problem, b, h, n - 1);
  if (lo < hi) seen.fill(1, lo, hi);
  seen.fill(1, 0, Math.max(0, Math.min(problem.sinkTokens[h], hi)));
}

function seeThroughMasks(problem: Problem, b: number, h: number, seen: Uint8Array): void {
  const { bias, mask, blocks, queryLength, sinkTokens, offset } = problem;
  const n = queryLength[b];
  const lo = new Int32Array(n), hi = new Int32Array(n);
  for (let i = 0; i < n; i++) ({ lo: lo[i], hi: hi[i] } = keyRange(problem, b, h, i));
  const reached = new Uint8Array(seen.length);
  seeRange(problem, b, h, reached);
  const hidden = [
    bias && hider(bias, b, h, (x) => x === -Infinity),
    mask && hider(mask, b, h, (x) => !x),
    blocks && { sameForAll: false, hides: (i: number, j: number) => !blocks.sees(b, h, i, j) },
  ].filter((mask) => mask !== null);
  const sees = (i: number, j: number) =>
    j < hi[i] && (j >= lo[i] || j < sinkTokens[h]) && !hidden.some(({ hides }) => hides(i, j));
  const rows = blocks && rowsByBlock(problem, blocks, b, h);
  for (let j = 0; j < seen.length; j++) {
    if (seen[j] || !reached[j] || hidden.some(({ sameForAll, hides }) => sameForAll && hides(0, j))) continue;
    const ranges = rows ? rows[Math.floor(j / blocks.keys)] : [[0, n]];
    seen[j] = ranges.some(([from, to]) => anyRow(j - offset[b], from, to, (i) => sees(i, j))) ? 1 : 0;
  }
}

/** Does f hold for some from ≤ i < to? Asked from `first` up, then down. */
function anyRow(first: number, from: number, to: number, f: (i: number) => boolean): boolean {
  const start = Math.max(from, Math.min(first, to - 1));
  for (let i = start; i < to; i++) if (f(i)) return true;
  for (let i = start - 1; i >= from; i--) if (f(i)) return true;
  return false;
}

/** `sameForAll`: for all rows. */
function hider(source: View, b: number, h: number, hides: (x: number) => boolean) {
  const read = elementReader(source);
  const [batch, head, row, column] = source.strides;
  const first = source.offset + b * batch + h * head;
  return {
    sameForAll: row === 0,
    hides: (i: number, j: number) => hides(read(first + i * row + j * column)),
  };
}

/** For each block of keys the ranges of queries whose rows of blocks list it. */
function rowsByBlock(
  { queryLength }: Problem,
  blocks: NonNullable<Problem["blocks"]>,
  b: number,
  h: number,
): [from: number, to: number][][] {
  const n = queryLength[b];
  const ranges = Array.from(
    { length: Math.ceil(blocks.shape[3] / blocks.keys) },
    (): [number, number][] => [],
  );
  for (let i = 0; i < n; i += blocks.rows) {
    const row = blocks.row(b, h, i);
    for (let at = blocks.starts[row]; at < blocks.starts[row + 1]; at++) {
      ranges[blocks.blocks[at]].push([i, Math.min(n, i + blocks.rows)]);
    }
  }
  return ranges;
}
