/**
 * A machine with a fast memory of S words and a slow one behind it, on which algorithms are played without arithmetic:
 * what they hold must fit, what they load and store is counted.
 */
import type { IoShape } from "../../src/plan/iomodel.ts";

export class TwoLevel {
  words = 0;
  #held = 0;
  readonly #fast: number;

  constructor(fast: number) {
    this.#fast = fast;
  }

  hold(words: number): void {
    this.#held += words;
    if (this.#held > this.#fast) throw new RangeError(`fast memory: ${this.#held} of ${this.#fast} words`);
  }

  drop(words: number): void {
    this.#held -= words;
  }

  load(words: number): void {
    this.words += words;
  }

  store(words: number): void {
    this.words += words;
  }
}

function* tiles(length: number, size: number): Generator<number> {
  for (let at = 0; at < length; at += size) yield Math.min(size, length - at);
}

/** FlashAttention-2, algorithm 1: for each block of queries all keys pass by; K's place is V's afterwards. */
export function playFlashAttention2({ N, M, D, E }: IoShape, br: number, bc: number, fast: number): number {
  const machine = new TwoLevel(fast);
  for (const rows of tiles(N, br)) {
    const own = rows * (D + E + 2);
    machine.hold(own);
    machine.load(rows * D);
    for (const keys of tiles(M, bc)) {
      machine.hold(rows * keys + keys * Math.max(D, E));
      machine.load(keys * D);
      machine.load(keys * E);
      machine.drop(rows * keys + keys * Math.max(D, E));
    }
    machine.store(rows * E);
    machine.store(rows);
    machine.drop(own);
  }
  return machine.words;
}

/** FlashAttention, algorithm 1: for each tile of keys all queries pass by, with O, m and l of what came before. */
export function playFlashAttention1({ N, M, D, E }: IoShape, br: number, bc: number, fast: number): number {
  const machine = new TwoLevel(fast);
  for (const keys of tiles(M, bc)) {
    machine.hold(keys * (D + E));
    machine.load(keys * (D + E));
    for (const rows of tiles(N, br)) {
      const own = rows * (D + E + 4 + keys);
      machine.hold(own);
      machine.load(rows * (D + E + 2));
      machine.store(rows * (E + 2));
      machine.drop(own);
    }
    machine.drop(keys * (D + E));
  }
  return machine.words;
}

/** Three products of b × b tiles with S and P written out. */
export function playSquareTiles({ N, M, D, E }: IoShape, b: number, fast: number): number {
  const machine = new TwoLevel(fast);
  for (const rows of tiles(N, b)) {
    machine.hold(2 * rows); // m and l
    for (const keys of tiles(M, b)) {
      machine.hold(rows * keys);
      for (const width of tiles(D, b)) {
        machine.hold((rows + keys) * width);
        machine.load((rows + keys) * width);
        machine.drop((rows + keys) * width);
      }
      machine.store(rows * keys);
      machine.drop(rows * keys);
    }
    for (const keys of tiles(M, b)) {
      machine.hold(rows * keys);
      machine.load(rows * keys);
      machine.store(rows * keys);
      machine.drop(rows * keys);
    }
    for (const width of tiles(E, b)) {
      machine.hold(rows * width);
      for (const keys of tiles(M, b)) {
        machine.hold(rows * keys + keys * width);
        machine.load(rows * keys + keys * width);
        machine.drop(rows * keys + keys * width);
      }
      machine.store(rows * width);
      machine.drop(rows * width);
    }
    machine.store(rows); // lse
    machine.drop(2 * rows);
  }
  return machine.words;
}
