/**
 * Blocks of an engine's arena between canaries. The canaries are NaN in every float format, so that a kernel that
 * reads past an end shows in its result, and one that writes there is caught by `check`.
 */
import type { Engine } from "../../src/wasm/load.ts";

const GUARD = 64;

export class Guarded {
  readonly engine: Engine;
  readonly #blocks: { at: number; bytes: number; frozen?: Uint8Array }[] = [];

  constructor(engine: Engine) {
    this.engine = engine;
  }

  /** An uninitialised block for results: all canary, so that an element never written is NaN. */
  out(bytes: number): number {
    const at = this.engine.arena.alloc(bytes + 2 * GUARD) + GUARD;
    this.engine.arena.u8(at - GUARD, bytes + 2 * GUARD).fill(0xff);
    this.#blocks.push({ at, bytes });
    return at;
  }

  /** A block that holds `data`; unless `inPlace`, check() sees that it still does. */
  put(data: Float32Array | Uint16Array | Int32Array, inPlace = false): number {
    const at = this.out(data.byteLength);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.engine.arena.u8(at, data.byteLength).set(bytes);
    if (!inPlace) this.#blocks[this.#blocks.length - 1]!.frozen = bytes.slice();
    return at;
  }

  f32(at: number, length: number): Float32Array {
    return this.engine.arena.f32(at, length).slice();
  }

  check(): void {
    const { arena } = this.engine;
    for (const { at, bytes, frozen } of this.#blocks) {
      const before = arena.u8(at - GUARD, GUARD), after = arena.u8(at + bytes, GUARD);
      if (before.some((b) => b !== 0xff)) throw new Error(`canary before ${bytes} bytes at ${at} is dead`);
      if (after.some((b) => b !== 0xff)) throw new Error(`canary after ${bytes} bytes at ${at} is dead`);
      const now = arena.u8(at, bytes);
      if (frozen?.some((b, i) => b !== now[i])) {
        throw new Error(`input of ${bytes} bytes at ${at} was changed`);
      }
    }
  }
}

/** Runs `body` with guarded blocks, then checks them and gives the memory back. */
export function guarded<T>(engine: Engine, body: (g: Guarded) => T): T {
  const mark = engine.arena.mark();
  try {
    const g = new Guarded(engine);
    const result = body(g);
    g.check();
    return result;
  } finally {
    engine.arena.release(mark);
  }
}

/** xorshift32, roughly Gaussian: the same numbers everywhere. */
export function gaussian(seed: number): () => number {
  let x = (seed * 2654435761) | 1;
  const uniform = () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32 - 0.5;
  };
  for (let i = 0; i < 8; i++) uniform();
  return () => 2 * (uniform() + uniform() + uniform() + uniform());
}

export function floats(n: number, next: () => number): Float32Array {
  return Float32Array.from({ length: n }, next);
}
