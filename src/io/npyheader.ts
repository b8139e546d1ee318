/**
 * The header of an npy file: a Python dict literal with exactly the keys descr, fortran_order and shape, in any
 * order, padded with spaces and closed by a newline. Of Python only what NumPy writes is read: plain strings,
 * True and False, tuples of decimal integers.
 */

import type { DType } from "../dtype.ts";
import { type Fail, printable } from "./fault.ts";
import { MAX_RANK } from "./tensor.ts";

/** Element type and byte order. */
export interface Descr {
  dtype: DType;
  bigEndian: boolean;
}

export interface NpyHeader {
  descr: Descr;
  fortran: boolean;
  shape: number[];
}

const DTYPES: ReadonlyMap<string, DType> = new Map([
  ["f8", "float64"],
  ["f4", "float32"],
  ["f2", "float16"],
  ["i8", "int64"],
  ["i4", "int32"],
  ["i1", "int8"],
  ["u1", "uint8"],
  ["b1", "bool"],
]);

/** A string, an integer, a word or a sign; spaces before it are skipped. */
const TOKEN = / *('[^'\\\n]*'|"[^"\\\n]*"|[0-9]+|[A-Za-z_]+|[{}(),:])/y;

/** Reads the header in `bytes`. */
export function parseHeader(bytes: Uint8Array, fail: Fail): NpyHeader {
  const odd = bytes.findIndex((byte) => byte !== 0x0a && (byte < 0x20 || byte > 0x7e));
  if (odd >= 0) fail("header", `expected printable ASCII, got byte ${bytes[odd]} at ${odd}`);
  return new HeaderParser(String.fromCharCode(...bytes), fail).parse();
}

class HeaderParser {
  readonly #text: string;
  readonly #fail: Fail;
  /** Index of the current token, and the token; "" at the end or where none fits. */
  #at = 0;
  #token = "";
  #next = 0;

  constructor(text: string, fail: Fail) {
    this.#text = text;
    this.#fail = fail;
    this.#advance();
  }

  parse(): NpyHeader {
    let descr: Descr | undefined;
    let fortran: boolean | undefined;
    let shape: number[] | undefined;
    this.#expect("header", "{");
    while (this.#token !== "}") {
      const key = this.#string("header", "a key");
      this.#expect("header", ":");
      if (key === "descr" && descr === undefined) descr = this.#descr();
      else if (key === "fortran_order" && fortran === undefined) fortran = this.#bool();
      else if (key === "shape" && shape === undefined) shape = this.#tuple();
      else this.#fail("header", `expected descr, fortran_order and shape once each, got "${printable(key)}"`);
      if (!this.#take(",")) break;
    }
    this.#expect("header", "}");
    if (!/^ *\n$/.test(this.#text.slice(this.#at))) this.#wrong("header", "spaces and a newline at the end");
    if (descr === undefined) this.#fail("descr", "expected one in the header, got none");
    if (fortran === undefined) this.#fail("fortran_order", "expected one in the header, got none");
    if (shape === undefined) this.#fail("shape", "expected one in the header, got none");
    return { descr, fortran, shape };
  }

  #descr(): Descr {
    const text = this.#string("descr", "a string");
    const order = text[0];
    const dtype = DTYPES.get(text.slice(1));
    // Only single bytes have no order; "=" is the writer's own, and no big-endian machine has written npy for long.
    const known = order === "<" || order === ">" || order === "=" || (order === "|" && text.endsWith("1"));
    if (!dtype || !known) {
      this.#fail("descr", `expected <f8 <f4 <f2 <i8 <i4 |i1 |u1 or |b1, got ${printable(text)}`);
    }
    return { dtype, bigEndian: order === ">" };
  }

  #bool(): boolean {
    if (this.#take("True")) return true;
    if (this.#take("False")) return false;
    return this.#wrong("fortran_order", "True or False");
  }

  /** (), (n,) or (n, m …): a lone (n) is no tuple. */
  #tuple(): number[] {
    this.#expect("shape", "(");
    const lengths: number[] = [];
    let comma = true;
    while (this.#token !== ")") {
      if (!comma) this.#wrong("shape", '"," or ")"');
      if (lengths.length === MAX_RANK) this.#fail("shape", `expected at most ${MAX_RANK} lengths, got more`);
      lengths.push(this.#length());
      comma = this.#take(",");
    }
    if (lengths.length === 1 && !comma) this.#wrong("shape", '"," in a tuple of one');
    this.#expect("shape", ")");
    return lengths;
  }

  #length(): number {
    const length = /^(?:0|[1-9][0-9]*)$/.test(this.#token) ? Number(this.#token) : NaN;
    if (!Number.isSafeInteger(length)) this.#wrong("shape", "an integer from 0 to 2^53 - 1");
    this.#advance();
    return length;
  }

  #string(field: string, what: string): string {
    const quote = this.#token[0];
    if (quote !== "'" && quote !== '"') this.#wrong(field, what);
    const text = this.#token.slice(1, -1);
    this.#advance();
    return text;
  }

  #take(token: string): boolean {
    if (this.#token !== token) return false;
    this.#advance();
    return true;
  }

  #expect(field: string, token: string): void {
    if (!this.#take(token)) this.#wrong(field, `"${token}"`);
  }

  #wrong(field: string, wanted: string): never {
    const found = this.#text.slice(this.#at, this.#at + 24).trim();
    this.#fail(field, `expected ${wanted}, got ${found === "" ? "the end" : printable(found)}`);
  }

  #advance(): void {
    this.#at = this.#next;
    TOKEN.lastIndex = this.#at;
    const match = TOKEN.exec(this.#text);
    this.#token = match ? match[1]! : "";
    if (match) this.#next = TOKEN.lastIndex;
  }
}
