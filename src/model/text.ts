/** Text and tokens: a token is a byte of UTF-8. */

/** The tokens of a text; half a surrogate pair becomes U+FFFD, as UTF-8 has no other way. */
export function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/**
 * Bytes → text as they come, never half a character: what does not yet end a character is held back until it does.
 * Bytes that can never become UTF-8 are U+FFFD, one for each maximal part (the WHATWG decoder's rule).
 *
 * @example
 * ```ts
 * import { TextStream } from "./src/model/text.ts";
 * const stream = new TextStream();
 * console.log([0xe2, 0x82, 0xac].map((byte) => stream.push([byte]))); // [ '', '', '€' ]
 * ```
 */
export class TextStream {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  /** The characters that these bytes complete. */
  push(bytes: ArrayLike<number>): string {
    return this.#decoder.decode(Uint8Array.from(bytes), { stream: true });
  }
}

/** All whole characters of `bytes`; a character cut off at the end is left out. */
export function decode(bytes: ArrayLike<number>): string {
  return new TextStream().push(bytes);
}

/** The longest part of `bytes` that is at most `length` long and does not end inside a character. */
export function cut(bytes: Uint8Array, length: number): Uint8Array {
  let end = Math.min(length, bytes.length);
  // Continuation bytes are 10xxxxxx; a character has at most three.
  for (let back = 0; back < 3 && end > 0 && end < bytes.length && (bytes[end] & 0xc0) === 0x80; back++) end--;
  return bytes.subarray(0, end);
}
