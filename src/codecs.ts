/**
 * Floats of 8 and 4 bits as numbers: sign, exponent, mantissa, gradual underflow.
 *
 *   E4M3   exponent bias 7    max 448     least 2^−9    no ∞, one NaN                      OCP FP8 ("e4m3fn")
 *   E5M2   exponent bias 15   max 57344   least 2^−16   ∞ and NaN like float16             OCP FP8
 *   E2M1   exponent bias 1    max 6       least ½       neither: 0 ½ 1 1½ 2 3 4 6          OCP MX, NVFP4
 *
 * Encoding rounds to nearest, ties to even, and saturates: ∞ and all that is beyond `max` becomes `max`; NaN becomes
 * the code with all bits but the sign set, which is NaN except in E2M1, where it is 6 (PTX's cvt.rn.satfinite).
 * |round(x) − x| ≤ max(2^−(mantissa bits + 1)·|x|, least/2) for |x| ≤ max. Float16 and bfloat16 are in dtype.ts.
 */

export interface MiniFloat {
  readonly name: "e4m3" | "e5m2" | "e2m1";
  readonly mantissaBits: number;
  /** The largest finite number and the least positive one. */
  readonly max: number;
  readonly least: number;
  /** Number → code. */
  encode(x: number): number;
  /** Code → number, exact. */
  decode(code: number): number;
  /** The nearest number of the format: decode(encode(x)), but NaN stays NaN. */
  round(x: number): number;
}

const word = new DataView(new ArrayBuffer(8));

export const E4M3: MiniFloat = miniFloat("e4m3", 4, 3, 448);
export const E5M2: MiniFloat = miniFloat("e5m2", 5, 2, 57344);
export const E2M1: MiniFloat = miniFloat("e2m1", 2, 1, 6);

/** Nearest integer, ties to even, of |x| < 2^52. */
export function roundEven(x: number): number {
  const r = Math.round(x);
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

function miniFloat(
  name: MiniFloat["name"],
  exponentBits: number,
  mantissaBits: number,
  max: number,
): MiniFloat {
  const sign = 1 << (exponentBits + mantissaBits);
  const hidden = 1 << mantissaBits;
  // Exponent of the least normal number; below it a unit in the last place stays what it is there.
  const lowest = 2 - (1 << (exponentBits - 1));

  const magnitude = (code: number): number => {
    const field = code >> mantissaBits;
    const mantissa = code & (hidden - 1);
    const value = field === 0
      ? mantissa * power(lowest - mantissaBits)
      : (mantissa + hidden) * power(lowest - mantissaBits + field - 1);
    if (value <= max) return value;
    return mantissa === 0 ? Infinity : NaN;
  };
  const numbers = Float64Array.from(
    { length: 2 * sign },
    (_, code) => code < sign ? magnitude(code) : -magnitude(code - sign),
  );

  /** Code of |x|. */
  const nearest = (x: number): number => {
    const a = Math.min(Math.abs(x), max);
    const exponent = a === 0 ? lowest : Math.max(exponentOf(a), lowest);
    // Counted in units of the last place: below `hidden` for subnormals; 2·hidden carries into the exponent.
    const units = roundEven(a * power(mantissaBits - exponent));
    return ((exponent - lowest) << mantissaBits) + units;
  };
  return {
    name,
    mantissaBits,
    max,
    least: power(lowest - mantissaBits),
    decode: (code) => numbers[code],
    encode(x) {
      if (x !== x) return sign - 1;
      return nearest(x) + (negative(x) ? sign : 0);
    },
    round(x) {
      if (x !== x) return x;
      const a = numbers[nearest(x)];
      return negative(x) ? -a : a;
    },
  };
}

function negative(x: number): boolean {
  return x < 0 || Object.is(x, -0);
}

/** ⌊log2 a⌋ of a normal double; less than −1022 for the others. */
function exponentOf(a: number): number {
  word.setFloat64(0, a);
  return (word.getUint16(0) >> 4) - 1023;
}

/** 2^n for −1022 ≤ n ≤ 1023. */
function power(n: number): number {
  word.setUint32(0, (n + 1023) << 20);
  word.setUint32(4, 0);
  return word.getFloat64(0);
}
