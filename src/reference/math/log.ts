/**
 * log, log1p: x = 2^k·z, 0.6875 ≤ z < 1.375; r = z·c − 1 is exact as a pair for c = n/128 near 1/z, and
 * ln x = k·ln2 − ln c + r − r²/2 + r³·(1/3 − …), the first four terms as pairs. c = 1 around z = 1, so nothing
 * cancels there: |r| ≤ 2^−7 there and everywhere.
 *
 * Source: P. T. P. Tang, Table-driven implementation of the logarithm function, TOMS 16 (1990); the interval layout
 * is that of ARM's optimized-routines (log.c), the pair arithmetic replaces their FMA.
 */

import { expansion, FRACTION, LN2, ONE } from "./constants.ts";
import { highWord, pair, pow2, productTail, sumTail } from "./pair.ts";

/** Upper word of 0.6875, where the 128 intervals begin. */
const START = 0x3fe60000;

/** 1.5·2^32: adding and taking it away rounds to a multiple of 2^−20. */
const TO_20_BITS = 6442450944;

/** Bits of the heads of k·ln2 and −ln c: multiples of 2^−42, so that their sum, below 2^10, is exact. */
const HEAD = 42n;

/** For interval i: c at [3i], then −ln c as [hi, lo]. */
const INTERVALS = intervals();

function intervals(): Float64Array {
  const logs = logarithms();
  const table = new Float64Array(3 * 128);
  for (let i = 0; i < 128; i++) {
    // Intervals of z are 2^−8 wide below 1 (i < 80) and 2^−7 above; both that touch 1 take c = 1.
    const centre = i < 80 ? (i + 176.5) / 256 : (i + 48.5) / 128;
    const n = i === 80 ? 128 : Math.round(128 / centre);
    table.set([n / 128, ...headAndTail(logs[128]! - logs[n]!)], 3 * i);
  }
  return table;
}

/** ln(n/93) for 93 ≤ n ≤ 186, added up from ln((n + 1)/n) = 2·artanh(1/(2n + 1)). */
function logarithms(): bigint[] {
  const logs: bigint[] = [];
  let log = 0n;
  for (let n = 93; n <= 186; n++) {
    logs[n] = log;
    const t = BigInt(2 * n + 1);
    for (let i = 1n, power = 2n * ONE / t; power > 0n; i += 2n, power /= t * t) log += power / i;
  }
  return logs;
}

/** x as a multiple of 2^−42 and the 53 leading bits of the rest. */
function headAndTail(x: bigint): number[] {
  const shift = FRACTION - HEAD;
  const head = x >> shift << shift;
  return [head, x - head].map((n) => expansion(n, [53])[0]!);
}

const [LN2_HIGH, LN2_LOW] = headAndTail(LN2) as [number, number];

/** 2^54. */
const TWO_54 = 0x40_0000_0000_0000;

/**
 * Natural logarithm. Max error 0.5001 ulp measured. log(1) = +0, log(±0) = −∞, log(∞) = ∞, NaN for NaN and x < 0.
 */
export function log(x: number): number {
  if (!(x > 0 && x < Infinity)) return atEdge(x);
  logPair(x, 0);
  return pair[0]!;
}

/**
 * ln(1 + x). Max error 0.5001 ulp measured. log1p(±0) = ±0, log1p(−1) = −∞, log1p(∞) = ∞, NaN for NaN and x < −1.
 */
export function log1p(x: number): number {
  if (!(x > -1 && x < Infinity)) return x === -1 ? -Infinity : x === Infinity ? x : NaN;
  // The range of c = 1: r = x, with no rounding of 1 + x.
  if (x >= -0.00390625 && x < 0.0078125) {
    // x²/2 is less than half a unit of x here, and −0 stays −0.
    if (Math.abs(x) < 1 / TWO_54) return x;
    logSum(0, 0, x, 0);
  } else {
    const u = 1 + x;
    // From 10^18 on, 1/x is far beyond the last bit of ln x.
    logPair(u, x < 1e18 ? sumTail(1, x, u) : 0);
  }
  return pair[0]!;
}

/**
 * ln(x + y) as a pair, relative error below 2^−66, for finite x > 0 and |y| ≤ ulp(x), or 1 for x < 10^18.
 */
export function logPair(x: number, y: number): void {
  // Subnormals become normal.
  const shift = x < 3e-308 ? 54 : 0;
  const normal = x * pow2(shift);
  const high = highWord(normal) - START;
  const k = high >> 20;
  const i = 3 * ((high >> 13) & 127);
  const z = normal * pow2(-k);
  const c = INTERVALS[i]!;
  // 20 bits of z: both products are exact, and the first minus 1 too.
  const zHigh = (z + TO_20_BITS) - TO_20_BITS;
  const first = zHigh * c - 1;
  const second = (z - zHigh) * c;
  const r = first + second;
  const rTail = ((first - r) + second) + y * pow2(-k) * c;
  const n = k - shift;
  logSum(n * LN2_HIGH + INTERVALS[i + 1]!, n * LN2_LOW + INTERVALS[i + 2]!, r, rTail);
}

/** head + tail + ln(1 + r + rTail) as a pair: see the file's head. head is 0 or at least 2^−8. */
function logSum(head: number, tail: number, r: number, rTail: number): void {
  const half = 0.5 * r;
  const square = half * r;
  const cubic = r * r * r *
    (1 / 3 + r * (-1 / 4 + r * (1 / 5 + r * (-1 / 6 + r * (1 / 7 + r * (-1 / 8 + r * (1 / 9)))))));
  const a = head + r;
  const b = a - square;
  const lo = sumTail(head, r, a) + (sumTail(a, -square, b) - productTail(half, r, square)) +
    (cubic + (rTail - rTail * (r - r * r) + tail));
  const sum = b + lo;
  pair[0] = sum;
  pair[1] = (b - sum) + lo;
}

/** The logarithm of what has none, or of 0 or ∞. */
export function atEdge(x: number): number {
  return x === 0 ? -Infinity : x === Infinity ? x : NaN;
}
