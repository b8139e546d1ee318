/**
 * The functions of src/reference/math, how far off each may be, and the arguments that try it: where its method
 * changes, where a table interval ends, where the result leaves the range of doubles, and random ones.
 */

import * as big from "./bigfloat.ts";
import { anyDouble, uniform } from "./mathHash.ts";
import { Random } from "./random.ts";

/** Random arguments of each kind. */
const SAMPLES = 3000;

type Name = "exp" | "exp2" | "expm1" | "log" | "log1p" | "log2" | "tanh" | "sigmoid" | "sin" | "cos";

export interface Subject {
  readonly name: Name;
  /** Greatest error, ulp. */
  readonly bound: number;
  readonly ranges: readonly (readonly [number, number])[];
  /** Where the method changes or the result leaves the range of doubles. */
  readonly boundaries: () => number[];
}

const { step } = big;
const powers = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => big.toNumber({ m: 1n, e: from + i }));

/** Doubles just below (i + offset)·step of a table, step = m·2^e. */
function ticks(value: big.Big, offset2: bigint, counts: readonly number[]): number[] {
  return counts.map((n) => big.toNumber({ m: (2n * BigInt(n) + offset2) * value.m, e: value.e - 1 }));
}

const LN2_128 = { m: big.ln2(400), e: -407 };
const PI_128 = { m: big.pi(400), e: -407 };
const expCounts = [...Array(300).keys()].map((i) => (i - 150) * 907 + i).concat([-2, -1, 0, 1, 2]);
const expTicks = () => [...ticks(LN2_128, 1n, expCounts), ...ticks(LN2_128, 0n, expCounts)];
const overflow = [709.782712893384, 709, 710, 708];
const underflow = [
  -708.3964185322641,
  -708,
  -709,
  -744.4400719213812,
  -745.1332191019412,
  -746,
  -708.3979952,
];

/** Edges of the 128 intervals of log's z, at some scales. */
function logTicks(): number[] {
  const z = Array.from({ length: 128 }, (_, i) => i < 80 ? 0.6875 + i / 256 : 1 + (i - 80) / 128);
  return [1, 2, 0.5, 1e300, 1e-300, 3e-320].flatMap((scale) => {
    const power = powers(big.exponent(scale), big.exponent(scale))[0]!;
    return z.map((v) => v * power);
  });
}

const nearOne = powers(-53, -1).flatMap((p) => [1 + p, 1 - p]);
const trigCounts = Array.from({ length: 300 }, (_, i) => i).concat(
  Array.from({ length: 200 }, (_, i) => 64 * (i * i * 13 + i)),
  [667_544, 534_035, 53_403_500, 85_445_659, 85_563_208],
);
/** The double nearest to a multiple of π/2: 6381956970095103·2^797. */
const WORST = 5.319372648326541e255;
const trigTicks = () => [
  ...ticks(PI_128, 0n, trigCounts),
  ...ticks(PI_128, 1n, trigCounts),
  ...powers(-30, 1023),
  WORST,
  2 ** 21,
  Number.MAX_VALUE,
];

export const SUBJECTS: readonly Subject[] = [
  {
    name: "exp",
    bound: 0.516,
    ranges: [[-746, 710], [-1, 1], [-746, -707]],
    boundaries: () => [...overflow, ...underflow, ...expTicks(), ...powers(-60, 9)],
  },
  {
    name: "exp2",
    bound: 0.516,
    ranges: [[-1076, 1025], [-1, 1], [-1076, -1021]],
    boundaries: () => [
      ...[1023, 1024, 1022, -1021, -1022, -1023, -1073, -1074, -1075, -1076],
      ...expCounts.flatMap((n) => [n / 128, (n + 0.5) / 128]),
      ...powers(-60, 10),
    ],
  },
  {
    name: "expm1",
    bound: 0.516,
    ranges: [[-41, 710], [-1, 1], [-0.02, 0.02]],
    boundaries: () => [...overflow, -40, 50, -37, ...powers(-60, 9), ...expTicks()],
  },
  { name: "log", bound: 0.501, ranges: [[0, 10], [0.5, 2], [0.99, 1.01]], boundaries: logEdges },
  {
    name: "log1p",
    bound: 0.501,
    ranges: [[-1, 3], [-0.1, 0.1], [-0.01, 0.02]],
    boundaries: () => [
      ...[-0.00390625, 0.0078125, -0.5, -1 + 2 ** -53],
      ...logTicks().map((x) => x - 1),
      ...powers(-60, 60),
    ],
  },
  { name: "log2", bound: 0.501, ranges: [[0, 10], [0.5, 2], [0.99, 1.01]], boundaries: logEdges },
  {
    name: "tanh",
    bound: 0.516,
    ranges: [[-20, 20], [-1, 1], [-0.2, 0.2]],
    boundaries: () => [0.125, 20, 19.06, 18.7, ...powers(-60, 5), ...expTicks().map((x) => x / 2)],
  },
  {
    name: "sigmoid",
    bound: 0.516,
    ranges: [[-750, 42], [-2, 2], [-40, 40]],
    boundaries: () => [45, 40, 37, 36.7, ...underflow, ...powers(-60, 9), ...expTicks()],
  },
  { name: "sin", bound: 0.501, ranges: [[-7, 7], [-1e6, 1e6], [-4e6, 4e6]], boundaries: trigTicks },
  { name: "cos", bound: 0.501, ranges: [[-7, 7], [-1e6, 1e6], [1.5, 1.6]], boundaries: trigTicks },
];

function logEdges(): number[] {
  return [...logTicks(), ...nearOne, ...powers(-1074, 1023), Number.MAX_VALUE, 3e-308];
}

/** In the domain, finite, and with a result that is not exactly 0. */
function usable(name: Name, x: number): boolean {
  if (!Number.isFinite(x) || x === 0) return false;
  return name === "log1p" ? x > -1 : name === "log" || name === "log2" ? x > 0 && x !== 1 : true;
}

/** Boundaries with two neighbours on either side, any bit patterns, and the ranges, all from one seed. */
export function argumentsOf({ name, ranges, boundaries }: Subject, seed: number): number[] {
  const random = new Random(seed);
  const xs = boundaries().flatMap((x) =>
    [-2, -1, 0, 1, 2].flatMap((n) => x ? [step(x, n), -step(x, n)] : [])
  );
  xs.push(Number.MIN_VALUE, -Number.MIN_VALUE, 1e-310, -1e-310, Number.MAX_VALUE, -Number.MAX_VALUE);
  for (let i = 0; i < SAMPLES; i++) {
    xs.push(anyDouble(random));
    for (const [from, to] of ranges) xs.push(from + (to - from) * uniform(random));
  }
  return xs.filter((x) => usable(name, x));
}
