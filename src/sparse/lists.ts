/** Lists of blocks as FlexAttention has them → the blocks of a row, checked. */
import { describe } from "../check.ts";
import { integers, type TensorInput } from "../tensor.ts";
import type { Listing } from "./build.ts";

/** For each (b, h, row of blocks): how many blocks, and which. */
export interface BlockLists {
  /** [B,H,⌈N/rows⌉]. */
  readonly counts: TensorInput;
  /** [B,H,⌈N/rows⌉,C], the first `counts` of each row hold. */
  readonly indices: TensorInput;
}

type Rows = readonly [B: number, H: number, R: number];

/** @throws RangeError for a block that isn't among the C of a row, or is listed twice. */
export function listings(
  partial: BlockLists | undefined,
  full: BlockLists | undefined,
  rows: Rows,
  C: number,
): (row: number) => Listing {
  const some = partial && readLists("partial", partial, rows, C);
  const all = full && readLists("full", full, rows, C);
  return (row) => {
    const isFull = new Map<number, boolean>();
    for (const [lists, whole] of [[all, true], [some, false]] as const) {
      for (const block of lists?.(row) ?? []) {
        if (isFull.has(block)) {
          throw new RangeError(`indices: expected each block once a row, got ${block} twice`);
        }
        isFull.set(block, whole);
      }
    }
    const blocks = [...isFull.keys()].sort((a, b) => a - b);
    return { blocks, isFull: (block) => isFull.get(block) === true };
  };
}

/** Row → its blocks. */
function readLists(
  name: string,
  { counts, indices }: BlockLists,
  [B, H, R]: Rows,
  C: number,
): (row: number) => number[] {
  const numbers = (field: string, input: TensorInput, rank: number): [number[], readonly number[]] => {
    const what = `${name}.${field}`;
    if (input === null || typeof input !== "object" || !ArrayBuffer.isView(input.data)) {
      throw new TypeError(`${what}: expected a tensor of integers, got ${describe(input)}`);
    }
    const dims = integers(`${what}.shape`, input.shape ?? input.dims ?? []);
    const wanted = [B, H, R];
    if (dims.length !== rank || wanted.some((n, axis) => dims[axis] !== n)) {
      throw new RangeError(
        `${what}: expected [B,H,R${rank > 3 ? ",C" : ""}] with [${wanted}], got [${dims}]`,
      );
    }
    return [integers(what, input.data as unknown as ArrayLike<number>), dims];
  };
  const [lengths] = numbers("counts", counts, 3);
  const [blocks, dims] = numbers("indices", indices, 4);
  const width = dims[3];
  if (lengths.length < B * H * R || blocks.length < B * H * R * width) {
    throw new RangeError(`${name}: expected data for the shapes [${[B, H, R]}] and [${dims}]`);
  }
  return (row) => {
    const length = lengths[row];
    if (length < 0 || length > width) {
      throw new RangeError(`${name}.counts[${row}]: expected from 0 to ${width}, got ${length}`);
    }
    const found = blocks.slice(row * width, row * width + length);
    for (const block of found) {
      if (block < 0 || block >= C) {
        throw new RangeError(`${name}.indices: expected blocks from 0 to ${C - 1}, got ${block}`);
      }
    }
    return found;
  };
}
