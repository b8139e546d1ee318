/**
 * Damage to the text of a header, JSON or a Python literal: counts that are none, overlaps, duplicate keys, depth.
 */

import type { Random } from "./random.ts";

/** Little-endian integers that counts overflow at. */
export const HUGE: readonly bigint[] = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  1n << 53n,
  1n << 60n,
  (1n << 63n) - 1n,
  (1n << 64n) - 1n,
];

/** The same as text, and what is no count at all. */
const NUMBERS = [
  ...HUGE.map(String),
  "-1",
  "1.5",
  "1e3",
  "1e400",
  "01",
  "9".repeat(400),
  "null",
  "true",
  '"7"',
  "[]",
  "{}",
  "NaN",
  "",
];

const DTYPES = [
  "F64",
  "F32",
  "F16",
  "BF16",
  "I64",
  "I32",
  "U8",
  "I8",
  "BOOL",
  "F8_E4M3",
  "U64",
  "f32",
  "__proto__",
];
const DESCRS = [
  "<f8",
  ">f8",
  "=f4",
  "<f2",
  ">i8",
  "|i1",
  "|u1",
  "|b1",
  "<c8",
  "|O",
  "<U4",
  "|S1",
  "<V2",
  "f4",
  "",
];
const KEYS = [
  "__proto__",
  "constructor",
  "__metadata__",
  "shape",
  "descr",
  "a\u001b[2J",
  "",
  "\ud800",
  "x".repeat(300),
];

/** Edits of a header's text; `random` picks the place. */
export type Edit = (text: string, random: Random) => string;

const replaceNumber: Edit = (text, random) => replaceOne(text, /\d+/g, () => random.pick(NUMBERS), random);

const nudgeNumber: Edit = (text, random) =>
  replaceOne(text, /\d+/g, (n) => String(Number(n) + random.pick([-8, -4, -1, 1, 4, 8])), random);

/** Offsets of one tensor for another's: overlaps and holes. */
const copyOffsets: Edit = (text, random) => {
  const all = text.match(/"data_offsets":\s*\[[^\]]*\]/g) ?? [""];
  return replaceOne(text, /"data_offsets":\s*\[[^\]]*\]/g, () => random.pick(all), random);
};

/** One tensor's range moved, its length kept. */
const shiftOffsets: Edit = (text, random) => {
  const by = random.pick([-8, -4, -1, 1, 4, 8]);
  const shift = (range: string) => range.replace(/\d+/g, (n) => String(Math.max(0, Number(n) + by)));
  return replaceOne(text, /"data_offsets":\s*\[\d+, ?\d+\]/g, shift, random);
};

const duplicateMember: Edit = (text, random) =>
  replaceOne(
    text,
    /["'][\w.]+["']:\s*(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|\w+)/g,
    (m) => `${m},${m}`,
    random,
  );

const dropMember: Edit = (text, random) =>
  replaceOne(text, /,?\s*["'][\w.]+["']:\s*(?:"[^"]*"|'[^']*'|\[[^\]]*\]|\([^)]*\)|\w+)/g, () => "", random);

const renameKey: Edit = (text, random) =>
  replaceOne(text, /["'][\w.]+["'](?=:)/g, () => JSON.stringify(random.pick(KEYS)), random);

const changeType: Edit = (text, random) =>
  replaceOne(
    text,
    /"[A-Z]+\d*"|'[<>|=]\w+'/g,
    (was) => was[0] === '"' ? `"${random.pick(DTYPES)}"` : `'${random.pick(DESCRS)}'`,
    random,
  );

const nest: Edit = (text, random) => {
  const [open, close] = random.pick([["[", "]"], ['{"a":', "}"], ["(", ")"]] as const);
  const depth = random.pick([2, 33, 1000, 20000]);
  const deep = open.repeat(depth) + "0" + close.repeat(random.pick([depth, 0]));
  return replaceOne(text, /\d+|"[A-Z]\w*"|\[[^\]]*\]/g, () => deep, random);
};

const manyDimensions: Edit = (text, random) =>
  replaceOne(text, /(?<=[[(])(?=\d)/g, () => `${random.pick(["1", "0", "1048576"])},`.repeat(33), random);

const flipOrder: Edit = (text) => text.replace(/True|False/, (was) => was === "True" ? "False" : "True");

export const EDITS: readonly Edit[] = [
  replaceNumber,
  nudgeNumber,
  copyOffsets,
  shiftOffsets,
  shiftOffsets,
  duplicateMember,
  dropMember,
  renameKey,
  changeType,
  nest,
  manyDimensions,
  flipOrder,
];

function replaceOne(text: string, what: RegExp, by: (match: string) => string, random: Random): string {
  const matches = [...text.matchAll(what)];
  if (matches.length === 0) return text;
  const { 0: match, index } = random.pick(matches);
  return text.slice(0, index) + by(match) + text.slice(index + match.length);
}
