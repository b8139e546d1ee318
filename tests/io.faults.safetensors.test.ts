/** Every rule of the safetensors reader, by the class and the words of its error. */

import { describe, expect, test } from "vitest";
import { readSafetensors } from "../src/io/index.ts";
import { expectThrow } from "./support/throws.ts";

const ascii = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));

/** A safetensors file with this header and so many zeros of data. */
function safetensors(header: string | Uint8Array, size = 0, length?: bigint): Uint8Array {
  const bytes = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + bytes.length + size);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(bytes.length), true);
  file.set(bytes, 8);
  return file;
}

const F32 = (shape: string, begin: number, end: number) =>
  `{"dtype":"F32","shape":${shape},"data_offsets":[${begin},${end}]}`;
const INTEGER = "expected an integer from 0 to 2^53 - 1";
const OTHERS = "expected F64, F32, F16, BF16, I64, I32, I8, U8, BOOL";

describe("safetensors: a SyntaxError that names file and field", () => {
  const cases: [title: string, file: Uint8Array, message: string][] = [
    ["no length", new Uint8Array(7), "header length: expected 8 bytes, got 7"],
    [
      "2^60 bytes of header",
      safetensors("{}", 8, 1n << 60n),
      `header length: expected ≤ 10, got ${1n << 60n}`,
    ],
    [
      "2^64 − 1 bytes",
      safetensors("{}", 0, (1n << 64n) - 1n),
      `header length: expected ≤ 2, got ${(1n << 64n) - 1n}`,
    ],
    ["one byte too many", safetensors("{}", 0, 3n), "header length: expected ≤ 2, got 3"],
    ["no header", safetensors(""), "header: expected a JSON object from the first byte, got byte none"],
    ["a space first", safetensors(" {}"), "header: expected a JSON object from the first byte, got byte 32"],
    [
      "a byte order mark",
      safetensors("\ufeff{}"),
      "header: expected a JSON object from the first byte, got byte 239",
    ],
    ["an array", safetensors("[]"), "header: expected a JSON object from the first byte, got byte 91"],
    ["not UTF-8", safetensors(ascii('{"\xff":1}')), "header: expected UTF-8, got bytes that are not"],
    ["unfinished", safetensors("{"), "header: expected a key, got the end"],
    ["text behind", safetensors("{} {}"), "header: expected nothing after the object, got {}"],
    ["a key that is a number", safetensors("{1:2}"), "header: expected a key, got 1:2}"],
    ["a trailing comma", safetensors(`{"q":${F32("[]", 0, 4)},}`, 4), "header: expected a key, got }"],
    ["no comma", safetensors(`{"q":${F32("[]", 0, 4)} "k":1}`, 4), 'header: expected "," or "}", got "k":1}'],
    ["no colon", safetensors('{"q" 1}'), 'tensors.q: expected ":" after the key, got 1}'],
    ["an open string", safetensors('{"q'), "header: expected a key closed by a quote, got the end"],
    [
      "a line break in a string",
      safetensors('{"q\n":1}'),
      'header: expected a key closed by a quote, got \\u{a}":1}',
    ],
    ["a bad escape", safetensors('{"\\x":1}'), 'header: expected a key with valid escapes, got "\\x"'],
    ["half a pair", safetensors('{"\\ud800":1}'), 'header: expected a key with valid escapes, got "\\ud800"'],
    [
      "a duplicate tensor",
      safetensors(`{"q":${F32("[]", 0, 4)},"q":1}`, 4),
      "tensors.q: expected once, got a duplicate key",
    ],
    [
      "a duplicate by escape",
      safetensors(`{"q":${F32("[]", 0, 4)},"\\u0071":1}`, 4),
      "tensors.q: expected once, got a duplicate key",
    ],
    [
      "a duplicate field",
      safetensors('{"q":{"dtype":"F32","dtype":"F32"}}'),
      "tensors.q.dtype: expected once, got a duplicate key",
    ],
    [
      "duplicate metadata",
      safetensors('{"__metadata__":{"a":"1","a":"1"}}'),
      "metadata.a: expected once, got a duplicate key",
    ],
    [
      "two metadata",
      safetensors('{"__metadata__":{},"__metadata__":{}}'),
      "metadata: expected once, got a duplicate key",
    ],
    ["metadata that is a list", safetensors('{"__metadata__":[]}'), "metadata: expected an object, got []}"],
    [
      "metadata that nests",
      safetensors('{"__metadata__":{"a":{}}}'),
      "metadata.a: expected a string, got {}}}",
    ],
    [
      "metadata with a number",
      safetensors('{"__metadata__":{"a":1}}'),
      "metadata.a: expected a string, got 1}}",
    ],
    ["a tensor that is null", safetensors('{"q":null}'), "tensors.q: expected an object, got null}"],
    [
      "deep lists",
      safetensors(`{"q":${"[".repeat(100_000)}`),
      `tensors.q: expected an object, got ${"[".repeat(24)}`,
    ],
    [
      "deep objects",
      safetensors('{"a":'.repeat(100_000)),
      "tensors.a.a: expected only dtype, shape and data_offsets, got another key",
    ],
    [
      "no dtype",
      safetensors('{"q":{"shape":[],"data_offsets":[0,0]}}'),
      "tensors.q: expected dtype, got none",
    ],
    [
      "no shape",
      safetensors('{"q":{"dtype":"F32","data_offsets":[0,0]}}'),
      "tensors.q: expected shape, got none",
    ],
    [
      "no offsets",
      safetensors('{"q":{"dtype":"F32","shape":[]}}'),
      "tensors.q: expected data_offsets, got none",
    ],
    [
      "another field",
      safetensors('{"q":{"dtype":"F32","__proto__":1}}'),
      "tensors.q.__proto__: expected only dtype, shape and data_offsets, got another key",
    ],
    ["an unknown dtype", safetensors('{"q":{"dtype":"F8_E4M3"}}'), `tensors.q.dtype: ${OTHERS}, got F8_E4M3`],
    ["U16", safetensors('{"q":{"dtype":"U16"}}'), `tensors.q.dtype: ${OTHERS}, got U16`],
    [
      "a dtype of objects",
      safetensors('{"q":{"dtype":"toString"}}'),
      `tensors.q.dtype: ${OTHERS}, got toString`,
    ],
    [
      "a dtype that is a number",
      safetensors('{"q":{"dtype":32}}'),
      "tensors.q.dtype: expected a string, got 32}}",
    ],
    [
      "a shape that is a number",
      safetensors('{"q":{"shape":1}}'),
      "tensors.q.shape: expected a list of integers, got 1}}",
    ],
    ...["-1", "1.5", "1e3", "01", "9007199254740992", '"1"', "null", "[1]", "NaN", ""].map((number) =>
      [
        `a length ${number}`,
        safetensors(`{"q":{"shape":[2,${number}]}}`),
        `tensors.q.shape.1: ${INTEGER}, got ${number}]}}`,
      ] as [string, Uint8Array, string]
    ),
    ["an open list", safetensors('{"q":{"shape":[1;'), 'tensors.q.shape: expected "," or "]", got ;'],
    [
      "33 dimensions",
      safetensors(`{"q":{"shape":[${"1,".repeat(32)}1]}}`),
      "tensors.q.shape.32: expected at most 32 integers, got more",
    ],
    [
      "one offset",
      safetensors('{"q":{"data_offsets":[0]}}'),
      "tensors.q.data_offsets: expected 2 integers, got 1",
    ],
    [
      "three offsets",
      safetensors('{"q":{"data_offsets":[0,0,0]}}'),
      "tensors.q.data_offsets.2: expected at most 2 integers, got more",
    ],
    [
      "an end past the data",
      safetensors(`{"q":${F32("[2048]", 0, 8192)}}`, 4096),
      "tensors.q.data_offsets: expected end ≤ 4096, got 8192",
    ],
    [
      "begin past end",
      safetensors(`{"q":${F32("[1]", 8, 4)}}`, 8),
      "tensors.q.data_offsets: expected begin ≤ end, got 8 > 4",
    ],
    [
      "a product past 2^53",
      safetensors(`{"q":${F32("[4294967296,4294967296]", 0, 0)}}`),
      "tensors.q.shape: expected at most 2^53 - 1 elements, got [4294967296, 4294967296]",
    ],
    [
      "a product past 2^53 beside a 0",
      safetensors(`{"q":${F32("[0,4294967296,4294967296]", 0, 0)}}`),
      "tensors.q.shape: expected at most 2^53 - 1 elements, got [0, 4294967296, 4294967296]",
    ],
    [
      "bytes against shape",
      safetensors(`{"q":${F32("[2,3]", 0, 20)}}`, 20),
      "tensors.q.data_offsets: expected 24 bytes for float32 [2, 3], got 20",
    ],
    [
      "an overlap",
      safetensors(`{"a":${F32("[2]", 0, 8)},"b":${F32("[2]", 4, 12)}}`, 12),
      "tensors.b.data_offsets: expected begin 8, got 4: an overlap",
    ],
    [
      "the same range twice",
      safetensors(`{"a":${F32("[1]", 0, 4)},"b":${F32("[1]", 0, 4)}}`, 4),
      "tensors.b.data_offsets: expected begin 4, got 0: an overlap",
    ],
    [
      "a hole",
      safetensors(`{"a":${F32("[1]", 0, 4)},"b":${F32("[1]", 8, 12)}}`, 12),
      "tensors.b.data_offsets: expected begin 4, got 8: a hole",
    ],
    [
      "a hole in front",
      safetensors(`{"a":${F32("[1]", 4, 8)}}`, 8),
      "tensors.a.data_offsets: expected begin 0, got 4: a hole",
    ],
    ["data behind", safetensors(`{"a":${F32("[1]", 0, 4)}}`, 8), "data: expected 4 bytes, got 8"],
    ["data alone", safetensors("{}", 1), "data: expected 0 bytes, got 1"],
    [
      "a boolean 2",
      safetensors('{"m":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}', 1).map((byte, i, all) =>
        i === all.length - 1 ? 2 : byte
      ),
      "tensors.m.data: expected 0 or 1, got 2 at 0",
    ],
    [
      "a name that drives a terminal",
      safetensors('{"\\u001b[2J\\n\u202e":1}'),
      "tensors.\\u{1b}[2J\\u{a}\\u{202e}: expected an object, got 1}",
    ],
    [
      "a long name",
      safetensors(`{"${"n".repeat(1000)}":1}`),
      `tensors.${"n".repeat(64)}…: expected an object, got 1}`,
    ],
    ["an empty name", safetensors('{"":1}'), 'tensors."": expected an object, got 1}'],
  ];
  test.each(cases)("%s", (_, file, message) => {
    expectThrow(() => readSafetensors(file), SyntaxError, `safetensors: ${message}`);
    expectThrow(
      () => readSafetensors(file, { name: "m.safetensors" }),
      SyntaxError,
      `m.safetensors: ${message}`,
    );
  });

  test("white space that the format allows is no fault", () => {
    const { tensors } = readSafetensors(safetensors(`{ "q" :\t${F32("[ 1 , 1 ]", 0, 4)} }\r\n  `, 4));
    expect(tensors.get("q")!.shape).toEqual([1, 1]);
  });
});
