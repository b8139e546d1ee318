/**
 * A BlockMask on its way to the kernels: which ranges of keys a chunk of rows visits at all, and for each row of the
 * chunk one bit a key of the panel, which says of every 4×64 tile whether it is empty, full or partial.
 *
 * 8 bytes for each (row, tile of 64 keys), a hundredth of the time that computing them takes.
 */
import type { Problem } from "../problem.ts";
import type { BlockMask } from "../sparse/blockmask.ts";
import { place } from "./rows.ts";

type Range = [start: number, stop: number];

/** The parts of `ranges` with a block that some row of the chunk sees; ranges start at multiples of 64. */
export function blockRanges(
  problem: Problem,
  mask: BlockMask,
  b: number,
  g: number,
  r0: number,
  count: number,
  ranges: readonly Range[],
): Range[] {
  const seen = new Uint8Array(Math.ceil(mask.shape[3] / mask.keys));
  let last = -1;
  for (let r = r0; r < r0 + count; r++) {
    const [h, i] = place(problem, b, g, r);
    const row = mask.row(b, h, i);
    if (row === last) continue;
    last = row;
    for (let entry = mask.starts[row]; entry < mask.starts[row + 1]; entry++) seen[mask.blocks[entry]] = 1;
  }
  const found: Range[] = [];
  for (const [start, stop] of ranges) {
    for (let at = start; at < stop;) {
      const block = Math.floor(at / mask.keys);
      const next = Math.min(stop, (block + 1) * mask.keys);
      const before = found[found.length - 1];
      if (seen[block] && before?.[1] === at) before[1] = next;
      else if (seen[block]) found.push([at, next]);
      at = next;
    }
  }
  return found;
}

/** Writes the bits of rows r0 … for keys key0 … key0 + keys into `words`, `ld` pairs of words a row. */
export function fillBlocks(
  words: Int32Array,
  ld: number,
  problem: Problem,
  mask: BlockMask,
  b: number,
  g: number,
  r0: number,
  count: number,
  key0: number,
  keys: number,
): void {
  const { starts, blocks, parts } = mask;
  const perBlock = mask.keys >> 6;
  const first = key0 >> 6, stop = (key0 + keys + 63) >> 6;
  let last = -1, alike = false;
  for (let x = 0, at = 0; x < Math.ceil(count / 4) * 4; x++, at += 2 * ld) {
    const [h, i] = place(problem, b, g, r0 + Math.min(x, count - 1));
    const row = mask.row(b, h, i);
    // Rows of one row of blocks that has no bitmap are alike.
    if (x >= count || (row === last && alike)) {
      words.copyWithin(at, at - 2 * ld, at);
      continue;
    }
    last = row;
    alike = true;
    words.fill(0, at, at + 2 * ld);
    for (let entry = starts[row]; entry < starts[row + 1]; entry++) {
      const tile0 = blocks[entry] * perBlock;
      if (tile0 >= stop) break;
      if (tile0 + perBlock <= first) continue;
      const from = Math.max(tile0, first), to = Math.min(tile0 + perBlock, stop);
      if (parts[entry] < 0) {
        words.fill(-1, at + (from - first) * 2, at + (to - first) * 2);
        continue;
      }
      alike = false;
      const word = mask.wordAt(entry, i);
      for (let n = (from - tile0) * 2; n < (to - tile0) * 2; n++) {
        words[at + (tile0 - first) * 2 + n] = mask.words[word + n];
      }
    }
  }
}
