/**
 * sin and cos: x = k·π/128 + r, |r| ≤ π/256, and sin x = S·cos r + C·sin r with S, C = sin, cos of k·π/128 from one
 * table of 256 pairs (a full turn; cos is a quarter turn further on). S and C·r are pairs, so nothing is lost where
 * they cancel.
 *
 * Reduction: to 2^21 by five pieces of π/128 (Cody & Waite 1980), beyond by 2/π to 1280 bits (Payne & Hanek 1983).
 */

import { expansion, FRACTION, multiply, ONE, PI } from "./constants.ts";
import { highWord, pow2, productTail, sumTail } from "./pair.ts";

/** ⌊2/π · 2^1280⌋: reducing 2^1023 takes 1024 + 53 bits, and 203 are left for the answer. */
export const TWO_OVER_PI = BigInt(
  "0xa2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e0" +
    "06492eea09d1921cfe1deb1cb129a73ee88235f52ebb4484e99c7026b45f7e413991d639835339f4" +
    "9c845f8bbdf9283b1ff897ffde05980fef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d" +
    "7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6babf0cfbc209af4361d",
);

export const TWO_OVER_PI_BITS = 1280;

/** sin(j·π/128) as [hi, lo] at [2j, 2j + 1], 0 ≤ j < 256. */
const SINES = sines();

function sines(): Float64Array {
  const step = PI >> 7n;
  const squared = multiply(step, step);
  // Taylor series of one step, then rotations by it.
  let cosStep = 0n;
  let sinStep = 0n;
  let term = ONE;
  for (let n = 1n; term !== 0n; n += 2n) {
    cosStep += term;
    const sinTerm = multiply(term, step) / n;
    sinStep += sinTerm;
    term = -multiply(term, squared) / (n * (n + 1n));
  }
  const table = new Float64Array(512);
  let sin = 0n;
  let cos = ONE;
  for (let j = 0; j <= 64; j++) {
    // The quarter turn is exactly 1.
    const [hi, lo] = j === 64 ? [1, 0] : expansion(sin, [53, 53]) as [number, number];
    for (const [at, sign] of [[j, 1], [128 - j, 1], [128 + j, -1], [256 - j, -1]] as const) {
      table[2 * (at & 255)] = sign * hi;
      table[2 * (at & 255) + 1] = sign * lo;
    }
    [sin, cos] = [
      multiply(sin, cosStep) + multiply(cos, sinStep),
      multiply(cos, cosStep) - multiply(sin, sinStep),
    ];
  }
  return table;
}

/** 1.5·2^52: adding and taking it away rounds to the nearest integer, for |x| < 2^51. */
const ROUND = 6755399441055744;

/** 2^−27. */
const SMALL = 1 / 0x800_0000;

/** 2^21: k stays below 2^27 up to here. */
const FAST = 0x20_0000;

/** 128/π. */
const STEPS = 40.74366543152521;

/** π/128 in pieces: k times each of the first four is exact for |k| < 2^27. */
const [STEP1, STEP2, STEP3, STEP4, STEP5] = expansion(PI >> 7n, [26, 26, 26, 26, 53]) as [
  number,
  number,
  number,
  number,
  number,
];

const reduced = new Float64Array(2);

/**
 * Sine of x radians. Max error 0.5003 ulp measured over the whole range. sin(±0) = ±0, NaN for ±∞ and NaN.
 */
export function sin(x: number): number {
  // x³/6 is less than half a unit of x here, and −0 stays −0.
  if (Math.abs(x) < SMALL) return x;
  const k = reduce(x, reduced);
  return sinStep(k, reduced[0]!, reduced[1]!);
}

/**
 * Cosine of x radians. Max error 0.5003 ulp measured over the whole range. cos(±0) = 1, NaN for ±∞ and NaN.
 */
export function cos(x: number): number {
  const k = reduce(x, reduced);
  return sinStep(k + 64, reduced[0]!, reduced[1]!);
}

/** sin(k·π/128 + r + rTail) for |r| ≤ 0.0123. */
function sinStep(k: number, r: number, rTail: number): number {
  const at = (k & 255) << 1;
  const s = SINES[at]!;
  const c = SINES[(at + 128) & 511]!;
  const rr = r * r;
  // sin r − r and cos r − 1; the terms left out are below 2^−62 of r and 2^−61.
  const sinRest = r * rr * (-1 / 6 + rr * (1 / 120 + rr * (-1 / 5040))) + rTail;
  const cosRest = rr * (-0.5 + rr * (1 / 24 + rr * (-1 / 720))) - r * rTail;
  const product = c * r;
  const head = s + product;
  return head + (sumTail(s, product, head) + productTail(c, r, product) +
    (SINES[at + 1]! + (SINES[(at + 129) & 511]! * r + (c * sinRest + s * cosRest))));
}

/** x = k·π/128 + out[0] + out[1] with |out[0]| ≤ 0.0123; returns k modulo 256, NaN in out if x is not finite. */
function reduce(x: number, out: Float64Array): number {
  if (!(Math.abs(x) < FAST)) return reduceHuge(x, out);
  const k = x * STEPS + ROUND - ROUND;
  // Exact: the bits above the result cancel.
  const a = x - k * STEP1 - k * STEP2;
  const third = -k * STEP3;
  const b = a + third;
  const fourth = -k * STEP4;
  const c = b + fourth;
  const tail = sumTail(a, third, b) + sumTail(b, fourth, c) - k * STEP5;
  const r = c + tail;
  out[0] = r;
  out[1] = (c - r) + tail;
  return k & 255;
}

/** Fractional bits kept of x·128/π. The error is m·2^−192 < 2^−139; no double comes nearer than 2^−62 to k·π/2. */
const KEPT = FRACTION;

/** reduce for |x| ≥ 2^21, in integers: 1 µs. */
function reduceHuge(x: number, out: Float64Array): number {
  if (!(Math.abs(x) < Infinity)) {
    out[0] = out[1] = NaN;
    return 0;
  }
  // |x| = m·2^q.
  const q = ((highWord(x) >> 20) & 2047) - 1075;
  const m = BigInt(Math.abs(x) * pow2(-q));
  // Bits of 2/π worth 256 turns and more drop out; below the window they cannot matter.
  const window = BigInt.asUintN(
    Number(KEPT) + 8,
    TWO_OVER_PI >> BigInt(TWO_OVER_PI_BITS - Number(KEPT) - 6 - q),
  );
  const steps = BigInt.asUintN(Number(KEPT) + 8, m * window);
  const k = (steps + (1n << (KEPT - 1n))) >> KEPT;
  const r = multiply(steps - (k << KEPT), PI >> 7n);
  const [hi, lo] = expansion(x < 0 ? -r : r, [53, 53]) as [number, number];
  out[0] = hi;
  out[1] = lo;
  return x < 0 ? -Number(k) : Number(k);
}
