/**
 * Elementary functions of a double to more than 150 correct bits, by big-integer arithmetic: the judge of
 * src/reference/math, with which it shares no code, constant or method (constants by Machin's formulas, exp and sin
 * by plain series after halving, ln by atanh, nothing table-driven). Never uses Math.exp and its like.
 */

/** The number m·2^e. */
export interface Big {
  readonly m: bigint;
  readonly e: number;
}

const abs = (n: bigint): bigint => n < 0n ? -n : n;

function bitLength(n: bigint): number {
  return n === 0n ? 0 : abs(n).toString(2).length;
}

/** n·2^s, rounded down. */
function shift(n: bigint, s: number): bigint {
  return s >= 0 ? n << BigInt(s) : n >> BigInt(-s);
}

/** Nearest integer of a/b, b > 0. */
function divideRound(a: bigint, b: bigint): bigint {
  const doubled = 2n * a + b;
  const q = doubled / (2n * b);
  return doubled < 0n && q * 2n * b !== doubled ? q - 1n : q;
}

const word = new DataView(new ArrayBuffer(8));

/** A finite double, exactly. */
export function fromDouble(x: number): Big {
  word.setFloat64(0, x);
  const bits = word.getBigUint64(0);
  const exponent = Number((bits >> 52n) & 2047n);
  const fraction = bits & 0xf_ffff_ffff_ffffn;
  const m = exponent === 0 ? fraction : fraction | 0x10_0000_0000_0000n;
  return { m: bits >> 63n ? -m : m, e: Math.max(exponent, 1) - 1075 };
}

/** The double with these 64 bits. */
export function fromBits(bits: bigint): number {
  word.setBigUint64(0, bits);
  return word.getFloat64(0);
}

export function toBits(x: number): bigint {
  word.setFloat64(0, x);
  return word.getBigUint64(0);
}

/** The double next to value, towards 0; for magnitudes from 2^−1074 below 2^1024. */
export function toNumber({ m, e }: Big): number {
  const n = abs(m);
  const drop = Math.max(bitLength(n) - 53, -1074 - e, 0);
  let x = Number(n >> BigInt(drop));
  // Powers of two in factors that are doubles.
  for (let k = e + drop; k !== 0;) {
    const part = Math.max(-1000, Math.min(1000, k));
    x *= fromBits(BigInt(part + 1023) << 52n);
    k -= part;
  }
  return m < 0n ? -x : x;
}

/** ⌊log2 |x|⌋. */
export function exponent(x: number): number {
  const { m, e } = fromDouble(x);
  return bitLength(m) + e - 1;
}

/** The double n steps up from x ≠ 0 in magnitude (down for n < 0). */
export function step(x: number, n: number): number {
  return fromBits(toBits(x) + BigInt(n));
}

/**
 * |got − exact| in units in the last place of the exact value: the spacing of doubles in its binade, 2^−1074 below
 * 2^−1022. Beyond the largest double the grid goes on; ∞ is the right answer from 2^1024 on.
 */
export function ulpError(got: number, exact: Big): number {
  const top = bitLength(exact.m) + exact.e - 1;
  const unit = Math.min(Math.max(top - 52, -1074), 971);
  if (Number.isNaN(got)) return Infinity;
  const overflow = Math.abs(got) === Infinity;
  if (overflow && top >= 1024 && (got > 0) === (exact.m > 0n)) return 0;
  const value = overflow ? { m: got > 0 ? 1n : -1n, e: 1024 } : fromDouble(got);
  const grid = Math.min(value.e, exact.e);
  const difference = abs(shift(value.m, value.e - grid) - shift(exact.m, exact.e - grid));
  return Number(shift(difference, grid - unit + 40)) / 0x100_0000_0000;
}

/** Fractional bits that suffice where the result is not tiny: sin nears k·π/2 by 2^−62 at most. */
const BITS = 256;

/** Fractional bits of the constants: the largest double has an integer part of 1024. */
const CONSTANT_BITS = 2600;

function cached(make: () => bigint): (bits: number) => bigint {
  let value: bigint | undefined;
  return (bits) => (value ??= make()) >> BigInt(CONSTANT_BITS - bits);
}

/** Σ ±1/((2i + 1)·n^(2i+1)) in units of 2^−bits: atan(1/n) for sign −1, atanh(1/n) for +1. */
function inverseSeries(n: bigint, sign: bigint, bits: number): bigint {
  let power = (1n << BigInt(bits + 64)) / n;
  let sum = 0n;
  for (let i = 1n; power !== 0n; i += 2n) {
    sum += power / i;
    power = sign * power / (n * n);
  }
  return sum >> 64n;
}

/** π = 16·atan(1/5) − 4·atan(1/239). */
export const pi = cached(() =>
  16n * inverseSeries(5n, -1n, CONSTANT_BITS) - 4n * inverseSeries(239n, -1n, CONSTANT_BITS)
);

/** ln 2 = 18·atanh(1/26) − 2·atanh(1/4801) + 8·atanh(1/8749). */
export const ln2 = cached(() =>
  18n * inverseSeries(26n, 1n, CONSTANT_BITS) - 2n * inverseSeries(4801n, 1n, CONSTANT_BITS) +
  8n * inverseSeries(8749n, 1n, CONSTANT_BITS)
);

/** Fractional bits for a function that is near its argument when that is small. */
function bitsFor(x: number): number {
  const { m, e } = fromDouble(x);
  // In steps of 128: few different sets of constants.
  return BITS + Math.max(0, -128 * Math.floor((bitLength(m) + e) / 128));
}

/** x in units of 2^−bits. */
function fixed(x: number, bits: number): bigint {
  const { m, e } = fromDouble(x);
  return shift(m, e + bits);
}

/** e^r in units of 2^−bits for |r| < 1: series of r/2^12, squared 12 times. */
function expSeries(r: bigint, bits: number): bigint {
  const guard = 32;
  const work = BigInt(bits + guard);
  const small = shift(r, guard) >> 12n;
  let term = 1n << work;
  let sum = term;
  for (let n = 1n; term !== 0n && term !== -1n; n++) {
    term = ((term * small) >> work) / n;
    sum += term;
  }
  for (let i = 0; i < 12; i++) sum = (sum * sum) >> work;
  return sum >> BigInt(guard);
}

/** e^(t·2^−bits); far out of range a stand-in that rounds to 0 or ∞. */
function expFixed(t: bigint, bits: number): Big {
  if (bitLength(t) - bits > 11) return { m: 1n, e: t < 0n ? -5000 : 5000 };
  const l = ln2(bits);
  const k = divideRound(t, l);
  return { m: expSeries(t - k * l, bits), e: Number(k) - bits };
}

/** ln of v·2^−bits, in the same units: v = 2^k·z, z·n/32 near 1, ln = k·ln2 + 2·atanh − ln(n/32). */
function lnFixed(v: bigint, bits: number): bigint {
  const work = bits + 32;
  const k = bitLength(v) - bits;
  const z = shift(v, 32 - k);
  const n = divideRound(32n << BigInt(work), z);
  const scaled = z * n >> 5n;
  return (BigInt(k) * ln2(work) + atanhLn(scaled, work) - smallLn(n, work)) >> 32n;
}

/** ln y = 2·atanh((y − 1)/(y + 1)). */
function atanhLn(y: bigint, bits: number): bigint {
  const one = 1n << BigInt(bits);
  const t = ((y - one) << BigInt(bits)) / (y + one);
  const squared = (t * t) >> BigInt(bits);
  let power = t;
  let sum = 0n;
  for (let i = 1n; power !== 0n && power !== -1n; i += 2n) {
    sum += power / i;
    power = (power * squared) >> BigInt(bits);
  }
  return 2n * sum;
}

const smallLogs = new Map<string, bigint>();

/** ln(n/32). */
function smallLn(n: bigint, bits: number): bigint {
  const key = `${n} ${bits}`;
  let log = smallLogs.get(key);
  if (log === undefined) smallLogs.set(key, log = atanhLn(shift(n, bits - 5), bits));
  return log;
}

export function exp(x: number): Big {
  return expFixed(fixed(x, BITS), BITS);
}

/** e^(x + y). */
export function expSum(x: number, y: number): Big {
  return expFixed(fixed(x, BITS) + fixed(y, BITS), BITS);
}

export function exp2(x: number): Big {
  if (Math.abs(x) > 4096) return { m: 1n, e: x < 0 ? -5000 : 5000 };
  return expFixed((fixed(x, BITS) * ln2(BITS)) >> BigInt(BITS), BITS);
}

/** value in units of 2^−bits. */
function atBits(value: Big, bits: number): bigint {
  return shift(value.m, value.e + bits);
}

export function expm1(x: number): Big {
  const bits = bitsFor(x);
  const y = expFixed(fixed(x, bits), bits);
  return { m: atBits(y, bits) - (1n << BigInt(bits)), e: -bits };
}

/** a/b to BITS bits after the first. */
function divide(a: bigint, b: bigint): Big {
  const s = Math.max(0, BITS + bitLength(b) - bitLength(a));
  return { m: (a << BigInt(s)) / b, e: -s };
}

export function tanh(x: number): Big {
  if (Math.abs(x) > 150) return { m: (x < 0 ? -1n : 1n) * ((1n << 300n) - 1n), e: -300 };
  const bits = bitsFor(x) + 450;
  const one = 1n << BigInt(bits);
  const y = atBits(expFixed(2n * fixed(x, bits), bits), bits);
  return divide(y - one, y + one);
}

export function sigmoid(x: number): Big {
  if (x > 1000) return { m: (1n << 300n) - 1n, e: -300 };
  if (x < -1000) return { m: 1n, e: -5000 };
  const bits = BITS + 1500;
  const y = atBits(exp(-x), bits);
  return divide(1n << BigInt(bits), (1n << BigInt(bits)) + y);
}

export function log(x: number): Big {
  const { m, e } = fromDouble(x);
  return lnScaled({ m, e }, BITS + 64);
}

/** ln of a positive number of any size. */
function lnScaled({ m, e }: Big, bits: number): Big {
  const k = bitLength(m) + e;
  return { m: BigInt(k) * ln2(bits) + lnFixed(shift(m, bits + e - k), bits), e: -bits };
}

export function log2(x: number): Big {
  const y = log(x);
  return { m: (y.m << 400n) / ln2(-y.e), e: -400 };
}

export function log1p(x: number): Big {
  const bits = bitsFor(x);
  return lnScaled({ m: fixed(x, bits) + (1n << BigInt(bits)), e: -bits }, bits);
}

/** base^x for finite base > 0. */
export function pow(base: number, x: number): Big {
  const bits = 512;
  const y = lnScaled(fromDouble(base), bits);
  const { m, e } = fromDouble(x);
  return expFixed(shift(m * y.m, e), bits);
}

/** sin(x + quarters·π/2). */
function sinTurned(x: number, quarters: bigint): Big {
  const bits = bitsFor(x) + 64;
  // The integer part needs as many more bits of π.
  const { m, e } = fromDouble(x);
  const extra = Math.max(0, bitLength(m) + e);
  const half = pi(bits + extra) >> 1n;
  const t = fixed(x, bits + extra);
  const n = divideRound(t, half);
  const r = (t - n * half) >> BigInt(extra);
  const quadrant = (((n + quarters) % 4n) + 4n) % 4n;
  const squared = (r * r) >> BigInt(bits);
  // cos r or sin r; for a quarter turn more, minus.
  let term = quadrant % 2n ? 1n << BigInt(bits) : r;
  let sum = 0n;
  for (let i = quadrant % 2n ? 1n : 2n; term !== 0n && term !== -1n; i += 2n) {
    sum += term;
    term = -((term * squared) >> BigInt(bits)) / (i * (i + 1n));
  }
  return { m: quadrant < 2n ? sum : -sum, e: -bits };
}

export function sin(x: number): Big {
  return sinTurned(x, 0n);
}

export function cos(x: number): Big {
  return sinTurned(x, 1n);
}
