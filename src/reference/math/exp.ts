/**
 * exp and exp2: x = (128e + j)·ln2/128 + r, |r| ≤ ln2/256, so e^x = 2^e · 2^(j/128) · e^r, with 2^(j/128) from a
 * table of 128 pairs and e^r − 1 from five Taylor terms (|r|^6/720 < 2^−60).
 *
 * Source: P. T. P. Tang, Table-driven implementation of the exponential function, TOMS 15 (1989).
 */

import { expansion, LN2, multiply, ONE } from "./constants.ts";
import { pair, productTail, scalePair, sumTail } from "./pair.ts";

/** 1.5·2^52: adding and taking it away rounds to the nearest integer, ties to even, for |x| < 2^51. */
const ROUND = 6755399441055744;

/** 2^(j/128) as [hi, lo] at [2j, 2j + 1]. */
const ROOTS = roots();

function roots(): Float64Array {
  const step = LN2 >> 7n;
  let ratio = 0n;
  let term = ONE;
  for (let n = 1n; term > 0n; n++) {
    ratio += term;
    term = multiply(term, step) / n;
  }
  const table = new Float64Array(256);
  for (let j = 0, power = ONE; j < 128; j++, power = multiply(power, ratio)) {
    table.set(expansion(power, [53, 53]), 2 * j);
  }
  return table;
}

/** ln2/128 in two pieces: k·STEP_HIGH is exact for |k| < 2^18. */
const [STEP_HIGH, STEP_LOW] = expansion(LN2 >> 7n, [35, 53]) as [number, number];
/** 128/ln 2: k may be off by one next to a tie, which only lets |r| pass ln2/256 by 2^−40. */
const STEPS = 184.6649652337873;
/** ln 2. */
const LN2_DOUBLE = 0.6931471805599453;

/**
 * e^x. Max error 0.513 ulp measured, subnormal results included. exp(±0) = 1, exp(∞) = ∞, exp(−∞) = 0,
 * exp(NaN) = NaN; ∞ above 709.782712893384, 0 from −745.1332191019412 down.
 */
export function exp(x: number): number {
  const inside = clamp(x, -746, 710);
  const k = inside * STEPS + ROUND - ROUND;
  return expStep(k, (inside - k * STEP_HIGH) - k * STEP_LOW);
}

/**
 * 2^x. Max error 0.511 ulp measured, exact for integers. exp2(±0) = 1, exp2(∞) = ∞, exp2(−∞) = 0,
 * exp2(NaN) = NaN; ∞ from 1024 on, 0 from −1075 down.
 */
export function exp2(x: number): number {
  const inside = clamp(x, -1076, 1024);
  const k = inside * 128 + ROUND - ROUND;
  return expStep(k, (inside - k / 128) * LN2_DOUBLE);
}

/** x, or the end of a range beyond which nothing changes any more. */
function clamp(x: number, low: number, high: number): number {
  return Math.max(low, Math.min(x, high));
}

/** 2^(k/128)·e^r for |r| ≤ ln2/256. */
function expStep(k: number, r: number): number {
  const p = r + r * r * (0.5 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120))));
  const j = (k & 127) << 1;
  const root = ROOTS[j]!;
  return scalePair(root, ROOTS[j + 1]! + root * p, k >> 7);
}

/**
 * e^(x + y) = 2^e · (pair[0] + pair[1]) with relative error below 2^−68, for |x| < 1100 and |y| ≤ ulp(x); returns e.
 * The head is in (0.99, 2.01).
 */
export function expPair(x: number, y: number): number {
  const k = x * STEPS + ROUND - ROUND;
  const reduced = x - k * STEP_HIGH;
  const low = -k * STEP_LOW;
  const r = reduced + low;
  const rTail = sumTail(reduced, low, r) + y;
  const taylor = r * r * (0.5 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * (1 / 720)))));
  // e^(r + rTail) − 1 − r; y may be 2^−43, so its product with e^r − 1 counts.
  const p = taylor + (rTail + rTail * (r + taylor));
  const j = (k & 127) << 1;
  const root = ROOTS[j]!;
  const rootTail = ROOTS[j + 1]!;
  const product = root * r;
  const hi = root + product;
  const lo = ((root - hi) + product) +
    (productTail(root, r, product) + (rootTail + (rootTail * r + root * p)));
  const sum = hi + lo;
  pair[0] = sum;
  pair[1] = (hi - sum) + lo;
  return k >> 7;
}
