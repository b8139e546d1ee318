/** Every rule of the npz reader, by the class and the words of its error. */

import { deflateSync, zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { readNpz, writeNpy } from "../src/io/index.ts";
import { expectThrow } from "./support/throws.ts";

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;

const npy = writeNpy({ dtype: "float32", shape: [100], data: new Float32Array(100).fill(0.5) });
const files = { "a.npy": npy, "b.npy": npy };
const stored = zipSync(files, { level: 0, mtime: "1980-01-01T00:00" });
const deflated = zipSync(files, { mtime: "1980-01-01T00:00" });
const packed = deflateSync(npy).length;

/** Where the record `signature` of entry `nth` begins. */
function find(zip: Uint8Array, signature: number, nth = 0): number {
  const view = new DataView(zip.buffer, zip.byteOffset, zip.byteLength);
  for (let at = 0; at + 4 <= zip.length; at++) {
    if (view.getUint32(at, true) === signature && nth-- === 0) return at;
  }
  throw new Error("no such record");
}

/** A copy with these fields of records changed: [signature, offset in the record, bytes, value, entry = 0]. */
function edit(zip: Uint8Array, ...edits: [number, number, 1 | 2 | 4, number, number?][]): Uint8Array {
  const copy = Uint8Array.from(zip);
  const view = new DataView(copy.buffer);
  for (const [signature, offset, size, value, nth = 0] of edits) {
    const at = find(zip, signature, nth) + offset;
    if (size === 1) view.setUint8(at, value);
    else if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
  }
  return copy;
}

/** The same field of the local and of the central header of entry 0. */
function editBoth(zip: Uint8Array, offset: number, size: 2 | 4, value: number): Uint8Array {
  return edit(zip, [LOCAL, offset, size, value], [CENTRAL, offset + 2, size, value]);
}

function joined(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const NO_END = "end of directory: expected its record at the end of the file, got none";
const directory = find(stored, CENTRAL);
const end = find(stored, END);

describe("npz: a SyntaxError that names file and field", () => {
  const crcOf = (zip: Uint8Array) => new DataView(zip.buffer).getUint32(14, true);
  const crc = crcOf(stored);
  const damagedCrc = crcOf(zipSync({ "a.npy": npy.map((byte, i) => i === 300 ? 1 : byte) }));
  const cases: [title: string, file: Uint8Array, message: string][] = [
    ["empty", new Uint8Array(0), NO_END],
    ["cut", stored.subarray(0, -1), NO_END],
    ["more behind", joined(stored, new Uint8Array(1)), NO_END],
    ["no zip", new Uint8Array(100_000), NO_END],
    ["two disks", edit(stored, [END, 4, 2, 1]), "end of directory: expected one disk, got more"],
    [
      "zip64",
      edit(stored, [END, 8, 2, 65535], [END, 10, 2, 65535]),
      "end of directory: expected no zip64 record, got one",
    ],
    [
      "bytes in front",
      joined(new Uint8Array(1), stored),
      `end of directory: expected the directory to end at ${end + 1}, got ${end}`,
    ],
    [
      "3 entries",
      edit(stored, [END, 8, 2, 3], [END, 10, 2, 3]),
      `directory: expected entry 2 of 3 at ${end}, got none`,
    ],
    [
      "1 entry",
      edit(stored, [END, 8, 2, 1], [END, 10, 2, 1]),
      `directory: expected its 1 entries to take ${end - directory} bytes, got ${(end - directory) / 2}`,
    ],
    [
      "no entry",
      edit(stored, [CENTRAL, 0, 4, 0]),
      `directory: expected entry 0 of 2 at ${directory}, got none`,
    ],
    [
      "a long name",
      edit(stored, [CENTRAL, 28, 2, 65535]),
      `directory: expected entry 0 to end ≤ ${end}, got ${directory + 46 + 65535}`,
    ],
    [
      "a name not in UTF-8",
      edit(stored, [CENTRAL, 46, 1, 0xff]),
      "directory: expected names in UTF-8, got one that is not",
    ],
    ["a name twice", edit(stored, [CENTRAL, 46, 1, 0x61, 1]), "a.npy: expected once, got a duplicate entry"],
    [
      "two names",
      edit(stored, [CENTRAL, 46, 1, 0x63]),
      "c.npy: local header: expected the directory's name, got another",
    ],
    ["encryption", editBoth(stored, 6, 2, 1), "a.npy: expected no encryption, got some"],
    ["bzip2", editBoth(stored, 8, 2, 12), "a.npy: method: expected 0 (stored) or 8 (deflated), got 12"],
    ["flags", edit(stored, [LOCAL, 6, 2, 2]), "a.npy: local header: expected flags 0, got 2"],
    ["methods", edit(stored, [LOCAL, 8, 2, 8]), "a.npy: local header: expected method 0, got 8"],
    ["CRCs", edit(stored, [LOCAL, 14, 4, 1]), `a.npy: local header: expected CRC ${crc}, got 1`],
    ["packed sizes", edit(stored, [LOCAL, 18, 4, 1]), "a.npy: local header: expected 528 packed, got 1"],
    ["sizes", edit(stored, [LOCAL, 22, 4, 0]), "a.npy: local header: expected size 528, got 0"],
    ["a size as stored", editBoth(stored, 22, 4, 529), "a.npy: size: expected 528 as stored, got 529"],
    [
      "a zip64 entry",
      edit(stored, [CENTRAL, 24, 4, 0xffffffff]),
      "a.npy: expected less than 4 GiB, got a zip64 entry",
    ],
    [
      "no local header",
      edit(stored, [CENTRAL, 42, 4, 1]),
      "a.npy: offset: expected a local header at 1, got none",
    ],
    [
      "an offset past the directory",
      edit(stored, [CENTRAL, 42, 4, directory]),
      `a.npy: offset: expected a local header at ${directory}, got none`,
    ],
    [
      "data past the directory",
      edit(stored, [CENTRAL, 20, 4, 5000], [CENTRAL, 24, 4, 5000]),
      `a.npy: packed size: expected its data to end ≤ ${directory}, got 5035`,
    ],
    [
      "an overlap",
      edit(stored, [LOCAL, 18, 4, 600], [LOCAL, 22, 4, 600], [CENTRAL, 20, 4, 600], [CENTRAL, 24, 4, 600]),
      "b.npy: offset: expected ≥ 635, the end of a.npy, got 563",
    ],
    [
      "a damaged byte",
      edit(stored, [LOCAL, 30 + 5 + 300, 1, 1]),
      `a.npy: CRC-32: expected ${crc}, got ${damagedCrc}`,
    ],
    [
      "more than 1032 : 1",
      editBoth(deflated, 22, 4, packed * 1032 + 1),
      `a.npy: size: expected ≤ 1032 × ${packed}, got ${packed * 1032 + 1}`,
    ],
    ["a small lie", editBoth(deflated, 22, 4, 527), "a.npy: size: expected 527 bytes, got more"],
    ["a small lie upwards", editBoth(deflated, 22, 4, 529), "a.npy: size: expected 529 bytes, got 528"],
    [
      "a big lie",
      editBoth(deflated, 22, 4, packed * 1032),
      `a.npy: size: expected ${packed * 1032} bytes, got 528`,
    ],
    [
      "no deflate",
      edit(deflated, [LOCAL, 35, 1, 7]),
      "a.npy: data: expected a deflate stream, got invalid block type",
    ],
    ["another suffix", zipSync({ "a.txt": npy }), "a.txt: expected a name that ends in .npy"],
    ["a folder", zipSync({ a: {} }), "a/: expected a name that ends in .npy"],
    [
      "an npy that is none",
      zipSync({ "a.npy": new Uint8Array(3) }),
      'a.npy: magic: expected "\\x93NUMPY" and a version',
    ],
    [
      "an npy that is cut",
      zipSync({ "a.npy": npy.subarray(0, -4) }),
      "a.npy: data: expected 400 bytes for float32 (100), got 396",
    ],
  ];
  test.each(cases)("%s", (_, file, message) => {
    expectThrow(() => readNpz(file), SyntaxError, `npz: ${message}`);
    expectThrow(() => readNpz(file, { name: "x.npz" }), SyntaxError, `x.npz: ${message}`);
  });

  test("a bomb is refused by its claim, before it is inflated", () => {
    const bomb = zipSync({ "a.npy": new Uint8Array(8e5), "b.npy": new Uint8Array(8e5) });
    const before = process.memoryUsage().arrayBuffers;
    expectThrow(
      () => readNpz(bomb, { limit: 1.2e6 }),
      SyntaxError,
      "npz: b.npy: size: expected ≤ 1200000 bytes in all, got 1600000",
    );
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(65536);
  });

  test("a bomb that claims little is left when it exceeds its claim, the rest of its stream unread", () => {
    const bomb = editBoth(
      zipSync({ "a.npy": new Uint8Array(1.2e7) }, { mtime: "1980-01-01T00:00" }),
      22,
      4,
      70_000,
    );
    // The stream no longer ends: who reads on finds that first.
    const broken = Uint8Array.from(bomb).fill(0, find(bomb, CENTRAL) - 100, find(bomb, CENTRAL));
    expectThrow(() => readNpz(broken), SyntaxError, "npz: a.npy: size: expected 70000 bytes, got more");
  });

  test("a limit that is no number of bytes is a RangeError", () => {
    expectThrow(
      () => readNpz(stored, { limit: -1 }),
      RangeError,
      "limit: expected a number of bytes ≥ 0, got -1",
    );
    expectThrow(
      () => readNpz(stored, { limit: NaN }),
      RangeError,
      "limit: expected a number of bytes ≥ 0, got NaN",
    );
  });

  test("a comment, a gap and a descriptor are no faults", () => {
    const comment = joined(edit(stored, [END, 20, 2, 3]), new Uint8Array(3));
    const later = edit(
      stored,
      [LOCAL, 6, 2, 8],
      [LOCAL, 14, 4, 0],
      [LOCAL, 18, 4, 0],
      [LOCAL, 22, 4, 0],
      [CENTRAL, 8, 2, 8],
    );
    for (const file of [comment, later]) expect([...readNpz(file).tensors.keys()]).toEqual(["a", "b"]);
  });
});
