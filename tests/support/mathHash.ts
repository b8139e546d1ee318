/**
 * The bits that src/reference/math must give in every engine: arguments from a fixed generator, results as
 * little-endian float64. Pure: a platform test hashes the bytes with whatever its runtime has.
 */

import { Random } from "./random.ts";

export interface MathFunctions {
  exp(x: number): number;
  exp2(x: number): number;
  expm1(x: number): number;
  log(x: number): number;
  log1p(x: number): number;
  log2(x: number): number;
  tanh(x: number): number;
  sigmoid(x: number): number;
  sin(x: number): number;
  cos(x: number): number;
  pow(base: number, x: number): number;
}

/** SHA-256 of `mathBytes(math)`. */
export const MATH_SHA256 = "5b3a855fff76603334e5b1c80aba6337b340590c8b6e0f4584ed878471de80d3";

/** Arguments that matter most: one third of the samples falls in here, uniformly. */
const RANGES: readonly (readonly [keyof Omit<MathFunctions, "pow">, number, number])[] = [
  ["exp", -746, 710],
  ["exp2", -1076, 1025],
  ["expm1", -40, 40],
  ["log", 0, 4],
  ["log1p", -1, 3],
  ["log2", 0, 4],
  ["tanh", -20, 20],
  ["sigmoid", -750, 40],
  ["sin", -1e6, 1e6],
  ["cos", -1e6, 1e6],
];

/** Uniform in [0, 1), 53 bits. */
export function uniform(random: Random): number {
  return ((random.next() >>> 6) * 134217728 + (random.next() >>> 5)) / 9007199254740992;
}

/** Any double, all exponents alike; NaN and infinities too. */
export function anyDouble(random: Random): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, random.next());
  view.setUint32(4, random.next());
  return view.getFloat64(0);
}

/** `count` results over all functions, 8 bytes each; every NaN as 0x7ff8000000000000. */
export function mathBytes(math: MathFunctions, count = 20_000): Uint8Array {
  const random = new Random(20_240_607);
  const bytes = new Uint8Array(8 * count);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    const y = sample(math, i, random);
    if (y === y) view.setFloat64(8 * i, y, true);
    else view.setUint32(8 * i + 4, 0x7ff80000, true);
  }
  return bytes;
}

function sample(math: MathFunctions, i: number, random: Random): number {
  const which = i % (RANGES.length + 1);
  const wild = random.next() % 3;
  if (which === RANGES.length) {
    // Rotary frequencies, moderate powers, anything.
    if (wild === 0) return math.pow(1000 + 1e6 * uniform(random), -uniform(random));
    if (wild === 1) return math.pow(10 * uniform(random), 40 * uniform(random) - 20);
    return math.pow(Math.abs(anyDouble(random)), 4 * uniform(random) - 2);
  }
  const [name, from, to] = RANGES[which]!;
  if (wild === 0) return math[name](anyDouble(random));
  const t = uniform(random);
  return math[name](wild === 1 ? from + (to - from) * t : 2 * t - 1);
}
