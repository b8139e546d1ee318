/** Every rule of the npy reader, by the class and the words of its error. */

import { describe, expect, test } from "vitest";
import { readNpy } from "../src/io/index.ts";
import { expectThrow } from "./support/throws.ts";

const ascii = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));

/** An npy file of version 1.0 with this header and so many zeros of data. */
function npy(header: string, size = 0): Uint8Array {
  const file = new Uint8Array(10 + header.length + size);
  file.set([0x93, ...ascii("NUMPY"), 1, 0, header.length & 255, header.length >> 8]);
  file.set(ascii(header), 10);
  return file;
}

const literal = (descr: string, order: string, shape: string) =>
  `{'descr': ${descr}, 'fortran_order': ${order}, 'shape': ${shape}, }\n`;
const shaped = (shape: string, size = 0) => npy(literal("'<f4'", "False", shape), size);
const poke = (file: Uint8Array, at: number, ...bytes: number[]) => {
  const copy = Uint8Array.from(file);
  copy.set(bytes, at < 0 ? file.length + at : at);
  return copy;
};

describe("npy: a SyntaxError that names file and field", () => {
  const good = shaped("(2,)", 8);
  const NONE = "expected one in the header, got none";
  const ONCE = "header: expected descr, fortran_order and shape once each, got ";
  const cases: [title: string, file: Uint8Array, message: string][] = [
    ["empty", new Uint8Array(0), 'magic: expected "\\x93NUMPY" and a version'],
    ["magic", poke(good, 0, 0x92), 'magic: expected "\\x93NUMPY" and a version'],
    ["version 4", poke(good, 6, 4), "version: expected 1.0, 2.0 or 3.0, got 4.0"],
    ["version 1.1", poke(good, 7, 1), "version: expected 1.0, 2.0 or 3.0, got 1.1"],
    ["no length", good.subarray(0, 9), "header length: expected 2 bytes, got 1"],
    ["cut", good.subarray(0, 40), `header length: expected ≤ 30, got ${good.length - 18}`],
    [
      "4 GiB of header",
      poke(good, 6, 2, 0, 255, 255, 255, 255),
      `header length: expected ≤ ${good.length - 12}, got 4294967295`,
    ],
    [
      "64 KiB of header",
      npy(literal("'<f4'", "False", "()").padEnd(20_000)),
      "header length: expected ≤ 10000, got 20000",
    ],
    ["not ASCII", poke(good, 12, 0xe9), "header: expected printable ASCII, got byte 233 at 2"],
    ["no dict", npy("[]\n"), 'header: expected "{", got []'],
    [
      "no newline",
      npy(literal("'<f4'", "False", "()").trim(), 4),
      "header: expected spaces and a newline at the end, got the end",
    ],
    [
      "code behind",
      npy(`${literal("'<f4'", "False", "()").trim()}; x\n`),
      "header: expected spaces and a newline at the end, got ; x",
    ],
    ["a bare key", npy("{descr: 1}\n"), "header: expected a key, got descr: 1}"],
    ["no colon", npy("{'descr' '<f4'}\n"), `header: expected ":", got '<f4'}`],
    ["no comma", npy("{'descr': '<f4' 'shape': ()}\n"), `header: expected "}", got 'shape': ()}`],
    ["a duplicate key", npy("{'shape': (), 'shape': ()}\n"), `${ONCE}"shape"`],
    ["another key", npy("{'x': 1}\n"), `${ONCE}"x"`],
    ["no descr", npy("{'fortran_order': True, 'shape': ()}\n"), `descr: ${NONE}`],
    ["no order", npy("{'descr': '<f4', 'shape': ()}\n"), `fortran_order: ${NONE}`],
    ["no shape", npy("{'descr': '<f4', 'fortran_order': True}\n"), `shape: ${NONE}`],
    ...["<c8", "|O", "<U4", "<u2", "|f4", "f4", "<f16", ""].map((descr) =>
      [
        `descr ${descr}`,
        npy(literal(`'${descr}'`, "False", "()")),
        `descr: expected <f8 <f4 <f2 <i8 <i4 |i1 |u1 or |b1, got ${descr || '""'}`,
      ] as [string, Uint8Array, string]
    ),
    [
      "a record",
      npy(literal("[('a', '<f4')]", "False", "()")),
      "descr: expected a string, got [('a', '<f4')], 'fortra",
    ],
    [
      "an escape",
      npy(literal("'<\\x664'", "False", "()")),
      "descr: expected a string, got '<\\x664', 'fortran_orde",
    ],
    [
      "order 1",
      npy(literal("'<f4'", "1", "()")),
      "fortran_order: expected True or False, got 1, 'shape': (), }",
    ],
    [
      "order true",
      npy(literal("'<f4'", "true", "()")),
      "fortran_order: expected True or False, got true, 'shape': (), }",
    ],
    ["no tuple", shaped("3"), 'shape: expected "(", got 3, }'],
    ["a list", shaped("[3]"), 'shape: expected "(", got [3], }'],
    ["(3)", shaped("(3)", 12), 'shape: expected "," in a tuple of one, got ), }'],
    ["(,)", shaped("(,)"), "shape: expected an integer from 0 to 2^53 - 1, got ,), }"],
    ["(1 2)", shaped("(1 2)"), 'shape: expected "," or ")", got 2), }'],
    ["a length −1", shaped("(-1, 2)"), "shape: expected an integer from 0 to 2^53 - 1, got -1, 2), }"],
    ["a length 01", shaped("(01, 2)"), "shape: expected an integer from 0 to 2^53 - 1, got 01, 2), }"],
    ["a length '1'", shaped("('1', 2)"), "shape: expected an integer from 0 to 2^53 - 1, got '1', 2), }"],
    [
      "a length 2^53",
      shaped(`(${2 ** 53}, 2)`),
      `shape: expected an integer from 0 to 2^53 - 1, got ${2 ** 53}, 2), }`,
    ],
    ["a length 1.5", shaped("(1.5, 2)"), 'shape: expected "," or ")", got .5, 2), }'],
    ["a length 1e3", shaped("(1e3, 2)"), 'shape: expected "," or ")", got e3, 2), }'],
    ["a length 2L", shaped("(2L, 2)"), 'shape: expected "," or ")", got L, 2), }'],
    ["33 dimensions", shaped(`(${"1, ".repeat(33)})`), "shape: expected at most 32 lengths, got more"],
    [
      "a product past 2^53",
      shaped("(4294967296, 4294967296)"),
      "shape: expected at most 2^53 - 1 elements, got (4294967296, 4294967296)",
    ],
    ["too little data", shaped("(3,)", 8), "data: expected 12 bytes for float32 (3), got 8"],
    ["too much data", shaped("(3, 0)", 8), "data: expected 0 bytes for float32 (3, 0), got 8"],
    [
      "a boolean 255",
      poke(npy(literal("'|b1'", "True", "(1, 2)"), 2), -1, 255),
      "data: expected 0 or 1, got 255 at 1",
    ],
  ];
  test.each(cases)("%s", (_, file, message) => {
    expectThrow(() => readNpy(file), SyntaxError, `npy: ${message}`);
    expectThrow(() => readNpy(file, { name: "x.npy" }), SyntaxError, `x.npy: ${message}`);
  });

  test("what Python allows and NumPy writes is no fault", () => {
    expect(readNpy(npy(`{"shape":(1,2,),"fortran_order":True ,'descr':'=f4'}   \n`, 8)).shape).toEqual([
      1,
      2,
    ]);
  });
});
