/**
 * A mask of blocks (FlexAttention, arXiv 2412.05496, §4.2): for each row of blocks the blocks that some query sees, each
 * either full or with one bit a (query, key). What no list names is never visited, what is full is never masked.
 *
 *   block (r, c) of (b, h): queries r·rows ≤ i < (r + 1)·rows, keys c·keys ≤ j < (c + 1)·keys
 *
 * 8 bytes a listed block and rows·keys/8 bytes a partial one.
 */
import { boolean } from "../geometry.ts";
import { describe } from "../check.ts";
import { broadcast, elementReader, type Tensor, type TensorInput } from "../tensor.ts";
import {
  type Block,
  type BlockSize,
  checkShape,
  checkSize,
  every,
  type Listing,
  type MaskMod,
  rowsOfBlocks,
  type Shape,
} from "./build.ts";
import { type BlockLists, listings } from "./lists.ts";

export type { BlockLists, BlockSize, MaskMod };

type Size = ReturnType<typeof checkSize>;

/** In `parts`: the block has no bitmap, all of it is seen. */
const FULL = -1;

/** Which keys each query may see, in blocks. Made by {@link BlockMask.from}, `fromTensor` and `fromLists`. */
export class BlockMask {
  /** [B,H,N,M]; B and H may be 1 and then stand for all. */
  readonly shape: Shape;
  /** Queries and keys of a block. */
  readonly rows: number;
  readonly keys: number;
  /** Row of blocks (b·H + h)·⌈N/rows⌉ + r has the entries starts[row] … starts[row + 1], blocks ascending. */
  readonly starts: Int32Array;
  readonly blocks: Int32Array;
  /** Which bitmap each entry has, or −1 if it is full. */
  readonly parts: Int32Array;
  /** Bitmaps: bit j mod 32 of word [part][i mod rows][(j mod keys)/32]. */
  readonly words: Uint32Array;

  /** @internal */
  constructor(shape: Shape, { rows, keys }: Size, rowsOfBlocks: Iterable<Iterable<Block>>) {
    this.shape = shape;
    this.rows = rows;
    this.keys = keys;
    const starts = [0], blocks: number[] = [], parts: number[] = [];
    let words = new Uint32Array(0), used = 0;
    for (const row of rowsOfBlocks) {
      for (const { block, bits } of row) {
        blocks.push(block);
        parts.push(bits === null ? FULL : used / (rows * keys / 32));
        if (bits === null) continue;
        if (used + bits.length > words.length) {
          const more = new Uint32Array(Math.max(2 * words.length, used + bits.length));
          more.set(words);
          words = more;
        }
        words.set(bits, used);
        used += bits.length;
      }
      starts.push(blocks.length);
    }
    this.starts = Int32Array.from(starts);
    this.blocks = Int32Array.from(blocks);
    this.parts = Int32Array.from(parts);
    this.words = words.slice(0, used);
  }

  /**
   * From a predicate, which is asked about every (b, h, i, j).
   *
   * @throws {TypeError} A wrong kind of thing.
   * @throws {RangeError} A wrong shape or block size.
   *
   * @example
   * ```ts
   * import { attention } from "flashtile";
   * import { BlockMask } from "flashtile/sparse";
   * const x = { data: new Float32Array([1, 2, 3, 4]), shape: [1, 1, 4, 1] };
   * const document = [0, 0, 1, 1];
   * const mask = BlockMask.from((b, h, i, j) => document[i] === document[j] && j <= i, [1, 1, 4, 4]);
   * console.log(attention(x, x, x, { mask }).out.data[2]); // 3
   * ```
   */
  static from(maskMod: MaskMod, shape: ArrayLike<number>, size: BlockSize = {}): BlockMask {
    if (typeof maskMod !== "function") {
      throw new TypeError(`maskMod: expected a function, got ${describe(maskMod)}`);
    }
    return create(checkShape(shape), checkSize(size), maskMod);
  }

  /**
   * From a boolean tensor that broadcasts to `shape`, its own unless told; true may attend.
   *
   * @throws {TypeError} A tensor that isn't boolean.
   * @throws {RangeError} A wrong shape or block size.
   *
   * @example
   * ```ts
   * import { BlockMask } from "flashtile/sparse";
   * const dense = { data: Uint8Array.from([1, 0, 1, 1]), dtype: "bool" as const, shape: [2, 2] };
   * const mask = BlockMask.fromTensor(dense);
   * console.log(mask.sees(0, 0, 0, 1), mask.sees(0, 0, 1, 0)); // false true
   * ```
   */
  static fromTensor(mask: TensorInput, shape?: ArrayLike<number>, size: BlockSize = {}): BlockMask {
    const own = boolean("mask", mask);
    if (own.shape.length < 2 || own.shape.length > 4) {
      throw new RangeError(`mask: expected [B,H,N,M], [H,N,M] or [N,M], got [${own.shape}]`);
    }
    const full = shape ?? [...new Array<number>(4 - own.shape.length).fill(1), ...own.shape];
    const [B, H, N, M] = checkShape(full);
    const { strides, offset } = broadcast("mask", own, [B, H, N, M], "[B,H,N,M]");
    const read = elementReader(own);
    const sees: MaskMod = (b, h, i, j) =>
      read(offset + b * strides[0] + h * strides[1] + i * strides[2] + j * strides[3]) !== 0;
    return create([B, H, N, M], checkSize(size), sees);
  }

  /**
   * From lists of blocks: `full` ones are seen whole, of `partial` ones what `maskMod` says (all, without it).
   *
   * @throws {TypeError} A wrong kind of thing.
   * @throws {RangeError} A wrong shape, a block that isn't there or is listed twice.
   *
   * @example
   * ```ts
   * import { BlockMask } from "flashtile/sparse";
   * const int32 = (shape: number[], ...numbers: number[]) => ({ data: Int32Array.from(numbers), shape });
   * // Two rows of blocks: the first sees block 0, the second blocks 0 and 2.
   * const full = { counts: int32([1, 1, 2], 1, 2), indices: int32([1, 1, 2, 2], 0, 0, 0, 2) };
   * const mask = BlockMask.fromLists({ shape: [1, 1, 128, 192], full });
   * console.log(mask.sees(0, 0, 100, 70), mask.sees(0, 0, 100, 130)); // false true
   * ```
   */
  static fromLists(
    { shape, rows, keys, partial, full, maskMod = () => true }: BlockSize & {
      readonly shape: ArrayLike<number>;
      readonly partial?: BlockLists;
      readonly full?: BlockLists;
      readonly maskMod?: MaskMod;
    },
  ): BlockMask {
    if (typeof maskMod !== "function") {
      throw new TypeError(`maskMod: expected a function, got ${describe(maskMod)}`);
    }
    const size = checkSize({ rows, keys });
    const dims = checkShape(shape);
    const [B, H, N, M] = dims;
    const rowsAndColumns = [[B, H, Math.ceil(N / size.rows)], Math.ceil(M / size.keys)] as const;
    return create(dims, size, maskMod, listings(partial, full, ...rowsAndColumns));
  }

  /** May query i of head h of batch b see key j? */
  sees(b: number, h: number, i: number, j: number): boolean {
    const entry = this.entry(b, h, Math.floor(i / this.rows), Math.floor(j / this.keys));
    if (entry < 0 || this.parts[entry] === FULL) return entry >= 0;
    const x = j % this.keys;
    return (this.words[this.wordAt(entry, i) + (x >> 5)] >>> (x & 31) & 1) === 1;
  }

  /** Share of the blocks that are visited, and of those that are visited and full. */
  get density(): { readonly visited: number; readonly full: number } {
    const [B, H, N, M] = this.shape;
    const all = B * H * Math.ceil(N / this.rows) * Math.ceil(M / this.keys);
    const full = this.parts.reduce((n, part) => n + (part === FULL ? 1 : 0), 0);
    return { visited: all && this.blocks.length / all, full: all && full / all };
  }

  /** The row of blocks that query i of (b, h) is in. @internal */
  row(b: number, h: number, i: number): number {
    const [B, H, N] = this.shape;
    return ((B === 1 ? 0 : b) * H + (H === 1 ? 0 : h)) * Math.ceil(N / this.rows) + Math.floor(i / this.rows);
  }

  /** The first word of query i's keys in a partial entry. @internal */
  wordAt(entry: number, i: number): number {
    return (this.parts[entry] * this.rows + i % this.rows) * (this.keys / 32);
  }

  /** Which entry is block c of the row of blocks r; −1 if it is empty. @internal */
  entry(b: number, h: number, r: number, c: number): number {
    const row = this.row(b, h, r * this.rows);
    let low = this.starts[row], high = this.starts[row + 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.blocks[middle] < c) low = middle + 1;
      else high = middle;
    }
    return low < this.starts[row + 1] && this.blocks[low] === c ? low : -1;
  }

  /** The boolean tensor [B,H,N,M] that says the same. */
  toTensor(): Tensor<Uint8Array> {
    const [B, H, N, M] = this.shape;
    const data = new Uint8Array(B * H * N * M);
    for (let row = 0, at = 0; row < B * H * N; row++) {
      const i = row % N, h = Math.floor(row / N) % H, b = Math.floor(row / (N * H));
      for (let j = 0; j < M; j++) data[at++] = this.sees(b, h, i, j) ? 1 : 0;
    }
    return { data, shape: [B, H, N, M], dtype: "bool" };
  }
}

function create(
  shape: Shape,
  size: Size,
  sees: MaskMod,
  listing = (_row: number): Listing => every,
): BlockMask {
  return new BlockMask(shape, size, rowsOfBlocks(shape, size, listing, sees));
}
