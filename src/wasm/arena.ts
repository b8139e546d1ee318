/**
 * Linear memory as a stack of 64-byte aligned blocks. A call takes a mark, allocates, computes, copies its results
 * out and releases to the mark: after a call nothing of it is left, and memory is only as large as the largest
 * call needed. What a caller keeps there (a runtime's tensors) is pinned, and calls allocate round it. Memory never
 * shrinks (WebAssembly has no way), so a runtime that is closed drops it whole.
 *
 * The first 64 KiB are the kernels' read-only tables and zeros behind them. Views die at every grow: make one, use it, forget it.
 */
import { FlashtileError } from "../errors.ts";

export const PAGE = 65536;
/** First byte the arena hands out; tools/build.js checks that the kernels' tables end below it. */
export const BASE = PAGE;
const ALIGN = 64;
/** Kernels may read, never write, this many bytes past the end of a block. */
const SLACK = 64;
/** 2 MiB. */
const SPARE = 2 ** 21;

export class Arena {
  readonly memory: WebAssembly.Memory;
  readonly #limit: number;
  #top = BASE;
  #floats: Float32Array | null = null;
  #words: Int32Array | null = null;
  /** [start, end) of what outlives calls, ascending; blocks are laid round them. */
  readonly #pins: (readonly [start: number, end: number])[] = [];

  /** `limit` is in bytes and counts the whole memory, tables included. */
  constructor(memory: WebAssembly.Memory, limit: number) {
    this.memory = memory;
    this.#limit = limit;
  }

  /** Bytes of linear memory in existence, used or not. */
  get size(): number {
    return this.memory.buffer.byteLength;
  }

  /** Where the next block would start; pass it to `release` to give back all that was allocated since. */
  mark(): number {
    return this.#top;
  }

  release(mark: number): void {
    this.#top = mark;
  }

  /** Address of a new block of `bytes`; its contents are whatever the last call left there. */
  alloc(bytes: number): number {
    const size = roundUp(bytes + SLACK, ALIGN);
    const start = this.#place(size);
    const end = start + size;
    if (end > this.#limit) throw noMemory(end, this.#limit);
    if (end > this.size) this.#grow(end);
    this.#top = end;
    return start;
  }

  /** The lowest address of so many free bytes. */
  #place(size: number): number {
    let start = this.#top;
    for (const [from, to] of this.#pins) if (from < start + size && start < to) start = to;
    return start;
  }

  /** Whether so many bytes may go for speed alone: what a call can do without must not be why it fails. */
  affords(bytes: number): boolean {
    return this.#place(bytes + SPARE) + bytes + SPARE <= this.#limit;
  }

  /** A block that stays until `unpin`, whatever is released meanwhile. */
  pin(bytes: number): number {
    const mark = this.#top;
    const start = this.alloc(bytes);
    this.#pins.push([start, this.#top]);
    this.#pins.sort(([a], [b]) => a - b);
    this.#top = mark;
    return start;
  }

  unpin(pointer: number): void {
    const at = this.#pins.findIndex(([start]) => start === pointer);
    if (at >= 0) this.#pins.splice(at, 1);
  }

  /** The whole memory, made anew only where it has grown: a view costs as much as copying 1000 floats. */
  get floats(): Float32Array {
    return this.#floats ??= new Float32Array(this.memory.buffer);
  }

  /** The same memory in int32. */
  get words(): Int32Array {
    return this.#words ??= new Int32Array(this.memory.buffer);
  }

  f32(pointer: number, length: number): Float32Array {
    return new Float32Array(this.memory.buffer, pointer, length);
  }

  i32(pointer: number, length: number): Int32Array {
    return new Int32Array(this.memory.buffer, pointer, length);
  }

  u16(pointer: number, length: number): Uint16Array {
    return new Uint16Array(this.memory.buffer, pointer, length);
  }

  u8(pointer: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, pointer, length);
  }

  /** State changes only if the engine agrees: after NO_MEMORY everything is as before. */
  #grow(end: number): void {
    const pages = Math.ceil((end - this.size) / PAGE);
    try {
      this.memory.grow(pages);
      this.#floats = this.#words = null;
    } catch (cause) {
      throw noMemory(end, this.#limit, cause);
    }
  }
}

function noMemory(bytes: number, limit: number, cause?: unknown): FlashtileError {
  return new FlashtileError(
    "NO_MEMORY",
    `memory: needed ${bytes} bytes of WebAssembly memory, limit ${limit}`,
    { cause },
  );
}

export function roundUp(n: number, multiple: number): number {
  return Math.ceil(n / multiple) * multiple;
}
