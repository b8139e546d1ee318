/**
 * Predicates and lists → the blocks of each row of blocks, one row at a time: nothing but the block at hand is held.
 */
import { count, describe } from "../check.ts";

/** (b, h, i, j) → may query i of head h of batch b see key j? */
export type MaskMod = (b: number, h: number, i: number, j: number) => boolean;

/** Queries and keys of a block: any number of queries, a multiple of 64 keys; 64 each unless told. */
export interface BlockSize {
  readonly rows?: number | undefined;
  readonly keys?: number | undefined;
}

export type Shape = readonly [B: number, H: number, N: number, M: number];

/** A block of a row, and its bitmap unless it is full. */
export interface Block {
  readonly block: number;
  readonly bits: Uint32Array | null;
}

/** Blocks of a row to look at, ascending; which of them are full without asking. */
export interface Listing {
  readonly blocks: ArrayLike<number> | null;
  isFull(block: number): boolean;
}

export const every: Listing = { blocks: null, isFull: () => false };
/** Row of blocks (b·H + h)·⌈N/rows⌉ + r after row: what `listing` names, looked at through `sees`. */
export function* rowsOfBlocks(
  [B, H, N, M]: Shape,
  { rows, keys }: { readonly rows: number; readonly keys: number },
  listing: (row: number) => Listing,
  sees: MaskMod,
): Generator<Iterable<Block>> {
  const R = Math.ceil(N / rows), C = Math.ceil(M / keys);
  const bits = new Uint32Array(rows * keys / 32);
  function* blocksOf(row: number): Generator<Block> {
    const b = Math.floor(row / (H * R)), h = Math.floor(row / R) % H, i0 = row % R * rows;
    const { blocks, isFull } = listing(row);
    for (let n = 0; n < (blocks?.length ?? C); n++) {
      const block = blocks ? blocks[n] : n;
      if (isFull(block)) {
        yield { block, bits: null };
        continue;
      }
      const j0 = block * keys, stop = Math.min(keys, M - j0), last = Math.min(N, i0 + rows);
      let seen = 0;
      bits.fill(0);
      for (let i = i0; i < last; i++) {
        for (let x = 0; x < stop; x++) {
          if (!sees(b, h, i, j0 + x)) continue;
          bits[((i - i0) * keys + x) >> 5] |= 1 << (x & 31);
          seen++;
        }
      }
      if (seen > 0) yield { block, bits: seen === stop * (last - i0) ? null : bits };
    }
  }
  for (let row = 0; row < B * H * R; row++) yield blocksOf(row);
}

export function checkShape(shape: ArrayLike<number>): Shape {
  if (shape === null || typeof shape !== "object" || shape.length !== 4) {
    throw new RangeError(`shape: expected [B,H,N,M], got ${describe(shape)}`);
  }
  const [B, H, N, M] = Array.from(shape, (n) => count("shape", n));
  return [B, H, N, M];
}

export function checkSize({ rows = 64, keys = 64 }: BlockSize): { rows: number; keys: number } {
  if (count("rows", rows) === 0) throw new RangeError("rows: expected at least 1 query a block, got 0");
  if (count("keys", keys) === 0 || keys % 64 !== 0) {
    throw new RangeError(`keys: expected a multiple of 64 keys a block, got ${keys}`);
  }
  return { rows, keys };
}
