/**
 * The directory of a zip archive, checked before a byte is unpacked: what each entry is, where it lies and what it
 * claims to hold. fflate unpacks, but believes the sizes it reads; so they are bounded here.
 *
 * Source: PKWARE APPNOTE 6.3.10, §4.3.7 local header, §4.3.12 central directory, §4.3.16 its end. Refused: zip64
 * directories (they start at 4 GiB or 65,535 entries), encryption, several disks, methods other than stored and
 * deflate, entries that overlap, local headers that say other than the directory.
 */

import { type Fail, printable } from "./fault.ts";

export interface ZipEntry {
  name: string;
  deflated: boolean;
  crc: number;
  /** Where the packed bytes lie in the archive. */
  begin: number;
  end: number;
  /** Bytes when unpacked: as many as packed if stored, at most 1032 times as many if deflated. */
  size: number;
}

/** What both headers of an entry say. */
interface Claim {
  flags: number;
  method: number;
  crc: number;
  packed: number;
  size: number;
}

const END = 22;
const CENTRAL = 46;
const LOCAL = 30;

/** Deflate's longest match is 258 bytes, its shortest code for one two bits. */
const MOST_DEFLATED = 1032;

const ENCRYPTED = 1 | 1 << 6 | 1 << 13;
const DESCRIPTOR = 1 << 3;
const UTF8 = 1 << 11;
const ZIP64 = 0xffffffff;

/** Reads the entries of the archive `file`. */
export function readDirectory(file: Uint8Array, fail: Fail): ZipEntry[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const { begin, end, count } = findDirectory(view, fail);
  const entries: ZipEntry[] = [];
  const spans: { name: string; begin: number; end: number }[] = [];
  const names = new Set<string>();
  let at = begin;
  for (let i = 0; i < count; i++) {
    if (at + CENTRAL > end || view.getUint32(at, true) !== 0x02014b50) {
      fail("directory", `expected entry ${i} of ${count} at ${at}, got none`);
    }
    const nameLength = view.getUint16(at + 28, true);
    const next = at + CENTRAL + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    if (next > end) fail("directory", `expected entry ${i} to end ≤ ${end}, got ${next}`);
    const name = decodeName(
      file.subarray(at + CENTRAL, at + CENTRAL + nameLength),
      view.getUint16(at + 8, true),
      fail,
    );
    if (names.has(name)) fail(printable(name), "expected once, got a duplicate entry");
    names.add(name);
    const { start, entry } = readEntry(view, at, name, begin, fail);
    entries.push(entry);
    spans.push({ name, begin: start, end: entry.end });
    at = next;
  }
  if (at !== end) {
    fail("directory", `expected its ${count} entries to take ${end - begin} bytes, got ${at - begin}`);
  }
  checkApart(spans, fail);
  return entries;
}

/** The directory's range: it ends where the record of its end begins, which ends with the file. */
function findDirectory(view: DataView, fail: Fail): { begin: number; end: number; count: number } {
  // A comment of at most 65,535 bytes may follow the record.
  const last = view.byteLength - END;
  let at = last;
  const isEnd = () => view.getUint32(at, true) === 0x06054b50 && view.getUint16(at + 20, true) === last - at;
  while (at >= 0 && at >= last - 65535 && !isEnd()) at--;
  if (at < 0 || at < last - 65535) {
    fail("end of directory", "expected its record at the end of the file, got none");
  }
  const disks = [view.getUint16(at + 4, true), view.getUint16(at + 6, true)];
  const [here, count] = [view.getUint16(at + 8, true), view.getUint16(at + 10, true)];
  const [length, begin] = [view.getUint32(at + 12, true), view.getUint32(at + 16, true)];
  if (count === 0xffff || begin === ZIP64) fail("end of directory", "expected no zip64 record, got one");
  if (disks[0] !== 0 || disks[1] !== 0 || here !== count) {
    fail("end of directory", "expected one disk, got more");
  }
  if (begin + length !== at) {
    fail("end of directory", `expected the directory to end at ${at}, got ${begin + length}`);
  }
  return { begin, end: at, count };
}

/** The entry whose central header is at `at`, whose data must end before `limit`. */
function readEntry(
  view: DataView,
  at: number,
  name: string,
  limit: number,
  fail: Fail,
): { start: number; entry: ZipEntry } {
  const field = printable(name);
  const claim = readClaim(view, at + 8);
  const { flags, method, crc, packed, size } = claim;
  const start = view.getUint32(at + 42, true);
  if (packed === ZIP64 || size === ZIP64 || start === ZIP64) {
    fail(field, "expected less than 4 GiB, got a zip64 entry");
  }
  if (flags & ENCRYPTED) fail(field, "expected no encryption, got some");
  if (method !== 0 && method !== 8) {
    fail(`${field}: method`, `expected 0 (stored) or 8 (deflated), got ${method}`);
  }
  if (method === 0 && size !== packed) fail(`${field}: size`, `expected ${packed} as stored, got ${size}`);
  if (size > packed * MOST_DEFLATED) {
    fail(`${field}: size`, `expected ≤ ${MOST_DEFLATED} × ${packed}, got ${size}`);
  }
  if (start + LOCAL > limit || view.getUint32(start, true) !== 0x04034b50) {
    fail(`${field}: offset`, `expected a local header at ${start}, got none`);
  }
  const nameLength = view.getUint16(start + 26, true);
  const begin = start + LOCAL + nameLength + view.getUint16(start + 28, true);
  const end = begin + packed;
  if (end > limit) fail(`${field}: packed size`, `expected its data to end ≤ ${limit}, got ${end}`);
  if (!sameBytes(view, at + CENTRAL, view.getUint16(at + 28, true), start + LOCAL, nameLength)) {
    fail(`${field}: local header`, "expected the directory's name, got another");
  }
  checkLocal(readClaim(view, start + 6), claim, `${field}: local header`, fail);
  return { start, entry: { name, deflated: method === 8, crc, begin, end, size } };
}

/** Both headers have these fields in this order. */
function readClaim(view: DataView, at: number): Claim {
  return {
    flags: view.getUint16(at, true),
    method: view.getUint16(at + 2, true),
    crc: view.getUint32(at + 8, true),
    packed: view.getUint32(at + 12, true),
    size: view.getUint32(at + 16, true),
  };
}

/**
 * The local header must agree. Where a descriptor follows the data it may hold zeros; where the writer left room for
 * zip64, as numpy.savez does, its sizes are all ones and the directory's are the real ones.
 */
function checkLocal(local: Claim, claim: Claim, field: string, fail: Fail): void {
  if (local.flags !== claim.flags) fail(field, `expected flags ${claim.flags}, got ${local.flags}`);
  if (local.method !== claim.method) fail(field, `expected method ${claim.method}, got ${local.method}`);
  const later = (claim.flags & DESCRIPTOR) !== 0;
  const agrees = (here: number, there: number, unset: number) =>
    here === there || here === unset || (later && here === 0);
  if (!agrees(local.crc, claim.crc, claim.crc)) fail(field, `expected CRC ${claim.crc}, got ${local.crc}`);
  if (!agrees(local.packed, claim.packed, ZIP64)) {
    fail(field, `expected ${claim.packed} packed, got ${local.packed}`);
  }
  if (!agrees(local.size, claim.size, ZIP64)) fail(field, `expected size ${claim.size}, got ${local.size}`);
}

function checkApart(spans: { name: string; begin: number; end: number }[], fail: Fail): void {
  spans.sort((a, b) => a.begin - b.begin);
  for (let i = 1; i < spans.length; i++) {
    const [one, two] = [spans[i - 1]!, spans[i]!];
    if (two.begin < one.end) {
      fail(
        `${printable(two.name)}: offset`,
        `expected ≥ ${one.end}, the end of ${printable(one.name)}, got ${two.begin}`,
      );
    }
  }
}

function sameBytes(view: DataView, a: number, aLength: number, b: number, bLength: number): boolean {
  if (aLength !== bLength) return false;
  for (let i = 0; i < aLength; i++) {
    if (view.getUint8(a + i) !== view.getUint8(b + i)) return false;
  }
  return true;
}

/** A name that is not flagged as UTF-8 is of an old code page: only its ASCII half is the same everywhere. */
function decodeName(bytes: Uint8Array, flags: number, fail: Fail): string {
  const ascii = bytes.every((byte) => byte < 0x80);
  try {
    // A copy, because browsers decode no shared memory.
    if (ascii || flags & UTF8) {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(new Uint8Array(bytes));
    }
  } catch {
    // No UTF-8: said below.
  }
  return fail("directory", "expected names in UTF-8, got one that is not");
}
