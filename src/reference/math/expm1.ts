/**
 * Functions of e^x where exp(x) itself would lose digits: expm1, tanh and sigmoid. Each takes e^x as a pair with
 * 68 good bits, so that what cancels (e^x − 1, 1 − 2/(e^2x + 1)) still leaves a full double.
 */

import { exp, expPair } from "./exp.ts";
import { pair, pow2, productTail, sumTail } from "./pair.ts";

/** 2^−54. */
const TINY = 1 / 0x40_0000_0000_0000;
/** 2^−28. */
const SMALL = 1 / 0x1000_0000;

/**
 * e^x − 1. Max error 0.513 ulp measured. expm1(±0) = ±0, expm1(∞) = ∞, expm1(−∞) = −1, expm1(NaN) = NaN;
 * ∞ above 709.782712893384.
 */
export function expm1(x: number): number {
  // 2^−8: below, the Taylor series; above, e^x − 1 cancels at most 8 bits.
  if (Math.abs(x) < 0.00390625) {
    // x²/2 is less than half a unit of x here, and −0 stays −0.
    if (Math.abs(x) < TINY) return x;
    return x + x * x * (0.5 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120 + x * (1 / 720 + x * (1 / 5040))))));
  }
  if (x > 50) return exp(x);
  if (x < -40) return -1;
  if (x !== x) return NaN;
  const scale = pow2(expPair(x, 0));
  const hi = pair[0]! * scale;
  const head = hi - 1;
  return head + (sumTail(hi, -1, head) + pair[1]! * scale);
}

/**
 * tanh x = 1 − 2/(e^2x + 1). Max error 0.514 ulp measured. tanh(±0) = ±0, tanh(±∞) = ±1, tanh(NaN) = NaN;
 * ±1 from |x| = 19.0616 on.
 */
export function tanh(x: number): number {
  const a = Math.abs(x);
  if (a < 0.125) return tanhTaylor(x);
  if (x !== x) return NaN;
  if (a > 20) return x < 0 ? -1 : 1;
  const scale = pow2(expPair(2 * a, 0));
  const hi = pair[0]! * scale;
  const d = hi + 1;
  const dTail = sumTail(hi, 1, d) + pair[1]! * scale;
  const q = 2 / d;
  const product = q * d;
  // What 2/(d + dTail) has beyond q; q/2 stands for 1/d.
  const qTail = 0.5 * q * ((2 - product) - productTail(q, d, product) - q * dTail);
  const head = 1 - q;
  const y = head + (((1 - head) - q) - qTail);
  return x < 0 ? -y : y;
}

/** tanh x for |x| < 1/8: the term left out, of x^19, is below 2^−60 of x. */
function tanhTaylor(x: number): number {
  if (Math.abs(x) < SMALL) return x;
  const s = x * x;
  const p = 62 / 2835 +
    s * (-1382 / 155925 + s * (21844 / 6081075 + s * (-929569 / 638512875 + s * (6404582 / 10854718875))));
  return x + x * s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * p)));
}

/**
 * 1/(1 + e^−x). Max error 0.513 ulp measured. sigmoid(±0) = 1/2, sigmoid(∞) = 1, sigmoid(−∞) = 0,
 * sigmoid(NaN) = NaN.
 */
export function sigmoid(x: number): number {
  // Beyond, the other term is below 2^−64 of the result.
  if (x > 45) return 1;
  if (x < -45) return exp(x);
  if (x !== x) return NaN;
  // n/(1 + e^−|x|), n = 1 or e^−|x|.
  const scale = pow2(expPair(-Math.abs(x), 0));
  const hi = pair[0]! * scale;
  const lo = pair[1]! * scale;
  const d = 1 + hi;
  const dTail = ((1 - d) + hi) + lo;
  const n = x < 0 ? hi : 1;
  const nTail = x < 0 ? lo : 0;
  const q = n / d;
  const product = q * d;
  return q + ((n - product) - productTail(q, d, product) + nTail - q * dTail) / d;
}
