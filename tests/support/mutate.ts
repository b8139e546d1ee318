/**
 * Seeded damage to files. Blind mutators flip, cut and splice bytes; the others know where a format keeps its counts
 * and keep the rest consistent, so that a mutant reaches the check behind the check.
 */

import { unzipSync, zipSync } from "fflate";
import { EDITS, HUGE } from "./edits.ts";
import { Random } from "./random.ts";

export type Mutator = (bytes: Uint8Array, random: Random) => Uint8Array<ArrayBuffer>;
export type Format = "safetensors" | "npy" | "npz";

const flipBits: Mutator = (bytes, random) => {
  const out = copy(bytes);
  for (let n = 1 + random.below(8); n > 0 && out.length > 0; n--) {
    out[random.below(out.length)]! ^= 1 << random.below(8);
  }
  return out;
};

const truncate: Mutator = (bytes, random) => copy(bytes.subarray(0, random.below(bytes.length)));

const extend: Mutator = (bytes, random) => {
  const extra = new Uint8Array(1 + random.below(64)).fill(random.pick([0, 0x20, 0xff]));
  return splice(bytes, bytes.length, bytes.length, extra);
};

const moveRange: Mutator = (bytes, random) => {
  const at = random.below(bytes.length);
  const range = bytes.subarray(at, at + 1 + random.below(64));
  const to = random.below(bytes.length);
  return splice(bytes, to, random.pick([to, Math.min(to + range.length, bytes.length)]), range);
};

const hugeInteger: Mutator = (bytes, random) => writeCount(bytes, random.below(bytes.length), random);

/** Lengths and offsets stand in front. */
const hugeInFront: Mutator = (bytes, random) =>
  writeCount(bytes, random.below(Math.min(16, bytes.length)), random);

/** Elements stand at the end. */
const lastByte: Mutator = (bytes, random) => {
  const out = copy(bytes);
  if (out.length > 0) out[out.length - 1 - random.below(Math.min(8, out.length))] = random.next();
  return out;
};

const headerLength: Mutator = (bytes, random) => {
  const out = copy(bytes);
  if (out.length < 8) return out;
  const view = new DataView(out.buffer);
  const near = BigInt.asUintN(64, view.getBigUint64(0, true) + BigInt(random.pick([-8, -1, 1, 8])));
  view.setBigUint64(0, random.pick([...HUGE, near, BigInt(out.length), BigInt(out.length - 8)]), true);
  return out;
};

const BLIND: readonly Mutator[] = [flipBits, truncate, extend, moveRange, hugeInteger, hugeInFront, lastByte];

/** Edits the header of a safetensors file and writes the length it now has. */
const editSafetensors: Mutator = (bytes, random) => {
  if (bytes.length < 8) return copy(bytes);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const header = editText(bytes.subarray(8, Math.min(8 + length, bytes.length)), random);
  const out = splice(bytes, 8, Math.min(8 + length, bytes.length), header);
  new DataView(out.buffer).setBigUint64(0, BigInt(header.length), true);
  return out;
};

/** Edits the header of an npy file of version 1.0 and writes the length it now has. */
const editNpy: Mutator = (bytes, random) => {
  if (bytes.length < 10) return copy(bytes);
  const end = Math.min(10 + bytes[8]! + 256 * bytes[9]!, bytes.length);
  const header = editText(bytes.subarray(10, end), random);
  const out = splice(bytes, 10, end, header);
  new DataView(out.buffer).setUint16(8, header.length, true);
  return out;
};

/** Damages one entry and packs the archive anew, so that its directory and CRC are right. */
const editEntry: Mutator = (bytes, random) => {
  try {
    // fflate believes sizes.
    const files = unzipSync(bytes, {
      filter: ({ size, originalSize }) => Math.max(size, originalSize) < 1e5,
    });
    const name = random.pick(Object.keys(files));
    files[name] = random.pick([...BLIND, editNpy, editNpy])(files[name]!, random);
    return copy(zipSync(files, { level: random.pick([0, 6]), mtime: new Date(1980, 0, 1) }));
  } catch {
    // Damaged before: blind damage is left.
    return flipBits(bytes, random);
  }
};

/** A count in one of the zip records, local or central or last. */
const editRecord: Mutator = (bytes, random) => {
  const records: number[] = [];
  for (let at = 0; at + 22 <= bytes.length; at++) {
    if (bytes[at] === 0x50 && bytes[at + 1] === 0x4b) records.push(at);
  }
  const at = random.pick(records) ?? 0;
  // Fields of two and of four bytes; a central header has its offset at 42.
  const field = at + random.pick([4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 42]);
  if (field + 4 > bytes.length) return copy(bytes);
  const out = copy(bytes);
  const view = new DataView(out.buffer);
  switch (random.below(3)) {
    case 0:
      view.setUint16(field, Number(random.pick(HUGE) & 0xffffn), true);
      break;
    case 1:
      view.setUint32(field, Number(random.pick(HUGE) & 0xffffffffn), true);
      break;
    default:
      view.setUint16(field, view.getUint16(field, true) + random.pick([-1, 1, 8]), true);
  }
  return out;
};

const MUTATORS: Readonly<Record<Format, readonly Mutator[]>> = {
  safetensors: [...BLIND, headerLength, ...Array<Mutator>(10).fill(editSafetensors)],
  npy: [...BLIND, ...Array<Mutator>(10).fill(editNpy)],
  npz: [...BLIND, ...Array<Mutator>(5).fill(editEntry), ...Array<Mutator>(5).fill(editRecord)],
};

/** The file after one to three mutations that `seed` alone decides. */
export function mutate(format: Format, bytes: Uint8Array, seed: number): Uint8Array<ArrayBuffer> {
  const random = new Random(seed);
  let mutant = copy(bytes);
  for (let n = 1 + random.below(3) * random.below(2); n > 0; n--) {
    mutant = random.pick(MUTATORS[format])(mutant, random);
  }
  return mutant;
}

function copy(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(bytes);
}

function splice(bytes: Uint8Array, begin: number, end: number, middle: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes.length - (end - begin) + middle.length);
  out.set(bytes.subarray(0, begin));
  out.set(middle, begin);
  out.set(bytes.subarray(end), begin + middle.length);
  return out;
}

function writeCount(bytes: Uint8Array, at: number, random: Random): Uint8Array<ArrayBuffer> {
  const word = new Uint8Array(8);
  new DataView(word.buffer).setBigUint64(0, random.pick(HUGE), true);
  const out = copy(bytes);
  out.set(word.subarray(0, Math.min(random.pick([2, 4, 8]), out.length - at)), at);
  return out;
}

function editText(bytes: Uint8Array, random: Random): Uint8Array {
  const text = new TextDecoder("latin1").decode(bytes);
  const edited = random.pick(EDITS)(text, random);
  return Uint8Array.from(edited, (c) => c.charCodeAt(0));
}
