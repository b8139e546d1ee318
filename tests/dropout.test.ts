/** The dropout generator: a fixed function, and close enough to independent fair draws. */
import { describe, expect, it } from "vitest";
import { dropoutDraw, dropoutRow, dropoutThreshold } from "../src/dropout.ts";

const draw = (seed: number, b: number, h: number, i: number, j: number) =>
  dropoutDraw(dropoutRow(seed, b, h, i), j);

/** The generator once more in big integers, straight from the words in src/dropout.ts. */
function byTheWords(seed: number, b: number, h: number, i: number, j: number): number {
  const word = (x: bigint) => BigInt.asUintN(32, x);
  const shiftXor = (x: bigint, n: bigint) => x ^ (x >> n);
  const mix = (x: bigint) => {
    x = word(shiftXor(x, 16n) * 0x21f0aaadn);
    x = word(shiftXor(x, 15n) * 0x735a2d97n);
    return shiftXor(x, 15n);
  };
  const s = BigInt(seed);
  const keys = [0x243f6a88n, 0x85a308d3n].map((key) => {
    for (const w of [word(s), word(s >> 32n), BigInt(b), BigInt(h), BigInt(i)]) {
      key = mix(word((key ^ w) + 0x9e3779b9n));
    }
    return key;
  });
  let u = word(BigInt(j) * 0x9e3779b9n + keys[0]);
  u = word(shiftXor(u, 16n) * 0x21f0aaadn);
  u = word((shiftXor(u, 15n) ^ keys[1]) * 0x735a2d97n);
  return Number(shiftXor(u, 15n));
}

describe("dropout", () => {
  it("is what its documentation says, bit by bit", () => {
    for (const seed of [0, 1, -1, 12345, 2 ** 32, 2 ** 53 - 1, -(2 ** 40) - 3]) {
      for (
        const [b, h, i, j] of [[0, 0, 0, 0], [1, 2, 3, 4], [7, 31, 4095, 65535], [0, 0, 2 ** 30, 2 ** 30]]
      ) {
        expect(draw(seed, b, h, i, j)).toBe(byTheWords(seed, b, h, i, j));
      }
    }
  });

  it("never changes: these masks are in people's results", () => {
    expect([0, 1, 2, 3].map((j) => draw(42, 0, 0, 0, j))).toEqual([
      1783128787,
      1705793012,
      2032883557,
      1033272158,
    ]);
  });

  it("keeps 1 − p of all entries, whatever p, seed, b, h, i", () => {
    const M = 4096;
    for (const p of [0, 0.001, 0.1, 0.5, 0.9, 0.999]) {
      for (const [seed, b, h] of [[0, 0, 0], [1, 3, 5], [-9, 0, 31]]) {
        let kept = 0;
        for (let i = 0; i < 64; i++) {
          const row = dropoutRow(seed, b, h, i);
          for (let j = 0; j < M; j++) if (dropoutDraw(row, j) >= dropoutThreshold(p)) kept++;
        }
        const n = 64 * M;
        // five standard deviations of n draws
        expect(Math.abs(kept - n * (1 - p))).toBeLessThanOrEqual(5 * Math.sqrt(n * p * (1 - p)));
      }
    }
  });

  it("flips half of the bits when one bit of anything changes", () => {
    const inputs = (n: number) => [n * 7919, n % 5, n % 32, n * 13 % 4096, n * 37 % 8192];
    for (let position = 0; position < 5; position++) {
      for (const bit of [0, 1, 5, 11]) {
        let flipped = 0;
        const n = 2000;
        for (let x = 0; x < n; x++) {
          const a = inputs(x) as [number, number, number, number, number];
          const c = [...a] as typeof a;
          c[position] ^= 1 << bit;
          let difference = draw(...a) ^ draw(...c);
          for (; difference !== 0; difference &= difference - 1) flipped++;
        }
        // 32n fair coins: five standard deviations
        expect(Math.abs(flipped - 16 * n)).toBeLessThanOrEqual(5 * Math.sqrt(8 * n));
      }
    }
  });

  it("neighbours are independent: rows, heads, columns, and rows shifted against each other", () => {
    const N = 128;
    const M = 512;
    const bits = Array.from({ length: N }, (_, i) => {
      const row = dropoutRow(5, 0, 0, i);
      return Array.from({ length: M + 4 }, (_, j) => dropoutDraw(row, j) >= 2 ** 31 ? 1 : -1);
    });
    for (const [di, dj] of [[0, 1], [0, 2], [1, 0], [1, 1], [2, 0], [1, 2], [3, 3]]) {
      let sum = 0;
      let n = 0;
      for (let i = 0; i + di < N; i++) {
        for (let j = 0; j < M; j++, n++) sum += bits[i][j] * bits[i + di][j + dj];
      }
      expect(Math.abs(sum)).toBeLessThanOrEqual(5 * Math.sqrt(n));
    }
  });
});
