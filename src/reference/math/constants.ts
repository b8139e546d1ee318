/**
 * ln 2, π and 2/π to more bits than any argument needs, and the exact step from a big integer to doubles. The tables
 * of exp, log and sin are computed from these at load (2.5 ms together, Node 20) by integer arithmetic, so that they are the
 * same in every engine and nobody has to trust a page of literals.
 */

import { LEAST, POW2 } from "./pair.ts";

/** Fractional bits of the fixed-point numbers from which the tables are made. */
export const FRACTION = 192;

/** ⌊ln 2 · 2^192⌋. */
export const LN2 = 0xb17217f7d1cf79abc9e3b39803f2f6af40f343267298b62dn;

/** ⌊π · 2^192⌋. */
export const PI = 0x3243f6a8885a308d313198a2e03707344a4093822299f31d0n;

/** ⌊2/π · 2^1280⌋: reducing 2^1023 takes 1024 + 53 bits, and 203 are left for the answer. */
export const TWO_OVER_PI = BigInt(
  "0xa2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e0" +
    "06492eea09d1921cfe1deb1cb129a73ee88235f52ebb4484e99c7026b45f7e413991d639835339f4" +
    "9c845f8bbdf9283b1ff897ffde05980fef2f118b5a0a6d1f6d367ecf27cb09b74f463f669e5fea2d" +
    "7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6babf0cfbc209af4361d",
);

export const TWO_OVER_PI_BITS = 1280;

/** a·b for fixed-point numbers with 192 fractional bits. */
export function multiply(a: bigint, b: bigint): bigint {
  return (a * b) >> BigInt(FRACTION);
}

/**
 * n·2^−192 as a sum of doubles with widths[0], widths[1], … significant bits (≤ 53): each takes the leading bits of
 * what is left, cut off, so every step is exact and only the bits beyond the last are lost.
 */
export function expansion(n: bigint, widths: readonly number[]): number[] {
  let rest = n < 0n ? -n : n;
  return widths.map((width) => {
    const shift = Math.max(0, bitLength(rest) - width);
    const leading = rest >> BigInt(shift);
    rest -= leading << BigInt(shift);
    const value = Number(leading) * POW2[shift - FRACTION - LEAST]!;
    return n < 0n && value > 0 ? -value : value;
  });
}

function bitLength(n: bigint): number {
  const digits = n.toString(16);
  return 4 * digits.length + 28 - Math.clz32(Number.parseInt(digits[0]!, 16));
}
