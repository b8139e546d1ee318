/**
 * 16-bit floats, exhaustively: every code, every midpoint of two neighbours and the doubles on either side of it.
 * The values are computed here from the format's definition, m·2^e, with integers.
 */

import { describe, expect, test } from "vitest";
import { BYTES, decodeBFloat16, decodeFloat16, encodeBFloat16, encodeFloat16 } from "../src/dtype.ts";
import { step } from "./support/bigfloat.ts";

interface Format {
  readonly name: string;
  readonly decode: (code: number) => number;
  readonly encode: (x: number) => number;
  readonly mantissaBits: number;
  /** Exponent of the least positive number. */
  readonly least: number;
  readonly infinity: number;
  readonly nan: number;
}

const FORMATS: readonly Format[] = [
  {
    name: "float16",
    decode: decodeFloat16,
    encode: encodeFloat16,
    mantissaBits: 10,
    least: -24,
    infinity: 0x7c00,
    nan: 0x7e00,
  },
  {
    name: "bfloat16",
    decode: decodeBFloat16,
    encode: encodeBFloat16,
    mantissaBits: 7,
    least: -133,
    infinity: 0x7f80,
    nan: 0x7fc0,
  },
];

/** What a finite code without sign means; at `infinity` the next number that the format has no room for. */
function valueOf(code: number, { mantissaBits, least }: Format): number {
  const exponent = code >> mantissaBits;
  const mantissa = code & ((1 << mantissaBits) - 1);
  return exponent === 0
    ? mantissa * 2 ** least
    : (mantissa + (1 << mantissaBits)) * 2 ** (least + exponent - 1);
}

/** The first code that is not as it should be, or −1: 65536 expectations would take seconds. */
function firstWrong(from: number, to: number, right: (code: number) => boolean): string {
  for (let code = from; code < to; code++) if (!right(code)) return `0x${code.toString(16)}`;
  return "none";
}

describe.each(FORMATS)("$name", (format) => {
  const { decode, encode, infinity, nan } = format;

  test("decodes all 65536 codes by the definition", () => {
    const wrong = firstWrong(0, 0x10000, (code) => {
      const sign = code & 0x8000 ? -1 : 1;
      const magnitude = code & 0x7fff;
      if (magnitude > infinity) return Number.isNaN(decode(code));
      return Object.is(decode(code), sign * (magnitude === infinity ? Infinity : valueOf(magnitude, format)));
    });
    expect(wrong).toBe("none");
  });

  test("encodes what it decoded, NaN as the one quiet NaN", () => {
    const wrong = firstWrong(
      0,
      0x10000,
      (code) => encode(decode(code)) === ((code & 0x7fff) > infinity ? nan : code),
    );
    expect(wrong).toBe("none");
  });

  test("rounds to nearest, ties to even, at and around every midpoint", () => {
    // The last midpoint lies between the largest number and the power of two beyond it: ∞.
    const wrong = firstWrong(0, infinity, (code) => {
      const [low, high] = [valueOf(code, format), valueOf(code + 1, format)];
      const middle = (low + high) / 2;
      const even = code & 1 ? code + 1 : code;
      return [[middle, even], [step(middle, -1), code], [step(middle, 1), code + 1]].every(([x, to]) =>
        encode(x!) === to && encode(-x!) === (to! | 0x8000)
      );
    });
    expect(wrong).toBe("none");
  });

  test("keeps what lies next to a code", () => {
    const wrong = firstWrong(1, infinity, (code) => {
      const x = valueOf(code, format);
      return [step(x, -1), step(x, 1)].every((y) => encode(y) === code && encode(-y) === (code | 0x8000));
    });
    expect(wrong).toBe("none");
  });

  test("overflows to ∞, underflows to signed zero", () => {
    expect(encode(Number.MAX_VALUE)).toBe(infinity);
    expect(encode(-Number.MAX_VALUE)).toBe(infinity | 0x8000);
    expect(encode(2 ** 128)).toBe(infinity);
    expect(encode(Number.MIN_VALUE)).toBe(0);
    expect(encode(-Number.MIN_VALUE)).toBe(0x8000);
    expect(encode(NaN)).toBe(nan);
  });
});

test("BYTES is the size of the typed array's elements", () => {
  const sizes = {
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
  expect(BYTES).toEqual(sizes);
});
