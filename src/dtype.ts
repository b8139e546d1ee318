/**
 * Element types: what they are called, which typed array holds them, how 16-bit floats are decoded.
 *
 * float16 (1 sign, 5 exponent, 10 mantissa) and bfloat16 (1, 8, 7) travel as 16-bit words, because Float16Array
 * is missing from Node 20. Both decode exactly into float32, encode rounds to nearest, ties to even.
 */

export type DType =
  | "float64"
  | "float32"
  | "float16"
  | "bfloat16"
  | "int8"
  | "uint8"
  | "int32"
  | "int64"
  | "bool";

export const FLOATS: readonly DType[] = ["float64", "float32", "float16", "bfloat16"];

/** The arrays that carry elements; 16-bit floats travel as words. */
export type TypedArray =
  | Float64Array
  | Float32Array
  | Uint16Array
  | Int8Array
  | Uint8Array
  | Int32Array
  | BigInt64Array;

/** Bytes an element takes. */
export const BYTES: Readonly<Record<DType, number>> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int8: 1,
  uint8: 1,
  int32: 4,
  int64: 8,
  bool: 1,
};

const word = new DataView(new ArrayBuffer(8));

/** The float32 with these 32 bits. */
function fromBits(bits: number): number {
  word.setInt32(0, bits);
  return word.getFloat32(0);
}

/** 2^−24, the least positive float16. */
const SMALLEST = 1 / 0x100_0000;

/** float16 word → number, exact. */
export function decodeFloat16(h: number): number {
  const exponent = (h >> 10) & 31;
  const mantissa = h & 1023;
  if (exponent === 0) return (h & 0x8000 ? -SMALLEST : SMALLEST) * mantissa;
  // The same number as a float32: its exponent is biased by 127 instead of 15, its mantissa has 13 bits more.
  const biased = exponent === 31 ? 255 : exponent + 112;
  return fromBits(((h & 0x8000) << 16) | (biased << 23) | (mantissa << 13));
}

/** number → float16 word, to nearest even; NaN becomes the quiet NaN 0x7e00. */
export function encodeFloat16(x: number): number {
  return encodeFloat(x, 10, 15);
}

/** number → the nearest float16. */
export function roundFloat16(x: number): number {
  return decodeFloat16(encodeFloat16(x));
}

/** bfloat16 word → number, exact. */
export function decodeBFloat16(b: number): number {
  return fromBits(b << 16);
}

/** number → bfloat16 word, to nearest even, without rounding twice through float32. */
export function encodeBFloat16(x: number): number {
  return encodeFloat(x, 7, 127);
}

/** number → sign in bit 15, exponent of this bias, `bits` of mantissa; what is beyond `most` becomes it. */
export function encodeFloat(
  x: number,
  bits: number,
  bias: number,
  most: number = (2 * bias + 1) << bits,
): number {
  if (x !== x) return most | (1 << (bits - 1));
  word.setFloat64(0, x);
  const high = word.getUint16(0);
  // 2^e ≤ |x|, or the least exponent, whose units subnormals count.
  const e = Math.max(((high >> 4) & 2047) - 1023, 1 - bias);
  word.setFloat64(0, 0);
  word.setUint16(0, (1023 + bits - e) << 4);
  const units = roundEven(Math.abs(x) * word.getFloat64(0));
  // A normal has 2^bits ≤ units ≤ 2^(bits + 1): its first bit, or the carry, counts up the exponent.
  return (high & 0x8000) | Math.min(((e + bias - 1) << bits) + units, most);
}

/** Nearest integer, ties to even, of |x| < 2^52. */
export function roundEven(x: number): number {
  const r = Math.round(x);
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r;
}
