/**
 * A JSON reader that is led by the caller: it takes the next value as the kind that the format wants there, and
 * anything else is a fault. So nesting is as deep as the format and no deeper, a long list is refused at its first
 * surplus item, and no tree is built from a hostile text. Duplicate keys, which JSON.parse drops, are faults.
 *
 * Grammar: RFC 8259. Cost: one pass; a set of keys per open object.
 */

import { isBroken, printable } from "./fault.ts";

/** Throws the fault of the value that these keys and indices lead to; no keys: the whole text. */
export type FailAt = (path: readonly (string | number)[], problem: string) => never;

export class JsonReader {
  readonly #text: string;
  readonly #fail: FailAt;
  readonly #path: (string | number)[] = [];
  #at = 0;

  constructor(text: string, fail: FailAt) {
    this.#text = text;
    this.#fail = fail;
  }

  /** Throws: the value being read is not what the format wants. */
  fail(problem: string): never {
    this.#fail(this.#path, problem);
  }

  /** Reads an object: `member` is called with each key and must read its value. */
  object(member: (key: string) => void): void {
    if (!this.#take("{")) this.fail(`expected an object, got ${this.#next()}`);
    if (this.#take("}")) return;
    const keys = new Set<string>();
    do {
      this.#skip();
      const key = this.string("a key");
      this.#path.push(key);
      if (keys.has(key)) this.fail("expected once, got a duplicate key");
      keys.add(key);
      if (!this.#take(":")) this.fail(`expected ":" after the key, got ${this.#next()}`);
      member(key);
      this.#path.pop();
    } while (this.#take(","));
    if (!this.#take("}")) this.fail(`expected "," or "}", got ${this.#next()}`);
  }

  /** Reads a list of at most `most` non-negative safe integers. */
  counts(most: number): number[] {
    if (!this.#take("[")) this.fail(`expected a list of integers, got ${this.#next()}`);
    const counts: number[] = [];
    if (this.#take("]")) return counts;
    do {
      this.#path.push(counts.length);
      if (counts.length === most) this.fail(`expected at most ${most} integers, got more`);
      counts.push(this.#count());
      this.#path.pop();
    } while (this.#take(","));
    if (!this.#take("]")) this.fail(`expected "," or "]", got ${this.#next()}`);
    return counts;
  }

  /** Reads a string. */
  string(what = "a string"): string {
    if (!this.#take('"')) this.fail(`expected ${what}, got ${this.#next()}`);
    const start = this.#at;
    let escaped = false;
    let code = this.#text.charCodeAt(this.#at);
    while (code !== 0x22) {
      if (!(code >= 0x20)) this.fail(`expected ${what} closed by a quote, got ${this.#next()}`);
      if (code === 0x5c) {
        escaped = true;
        this.#at++;
      }
      code = this.#text.charCodeAt(++this.#at);
    }
    const inside = this.#text.slice(start, this.#at++);
    return escaped ? this.#unescape(inside, what) : inside;
  }

  /** Only white space may be left. */
  end(): void {
    this.#skip();
    if (this.#at < this.#text.length) this.fail(`expected nothing after the object, got ${this.#next()}`);
  }

  #unescape(inside: string, what: string): string {
    let text: string | undefined;
    try {
      text = JSON.parse(`"${inside}"`) as string;
    } catch {
      // A bad escape: said below.
    }
    if (text === undefined || isBroken(text)) {
      this.fail(`expected ${what} with valid escapes, got ${printable(`"${inside}"`)}`);
    }
    return text;
  }

  #count(): number {
    this.#skip();
    const number = /[-+.\w]{0,32}/y;
    number.lastIndex = this.#at;
    const token = number.exec(this.#text)![0];
    const value = /^(?:0|[1-9]\d*)$/.test(token) ? Number(token) : NaN;
    if (!Number.isSafeInteger(value)) {
      this.fail(`expected an integer from 0 to 2^53 - 1, got ${this.#next()}`);
    }
    this.#at += token.length;
    return value;
  }

  #skip(): void {
    let code = this.#text.charCodeAt(this.#at);
    while (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) {
      code = this.#text.charCodeAt(++this.#at);
    }
  }

  #take(character: string): boolean {
    this.#skip();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  /** What stands at the reader, for a message. */
  #next(): string {
    return this.#at < this.#text.length ? printable(this.#text.slice(this.#at, this.#at + 24)) : "the end";
  }
}
