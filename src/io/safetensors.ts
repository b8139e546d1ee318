/**
 * safetensors: u64 length N, N bytes of JSON { name: { dtype, shape, data_offsets: [begin, end] } }, then the data.
 *
 * Source: the Hugging Face safetensors format, with its reference reader's checks and more: no holes, no overlaps,
 * no duplicate keys, exactly the three fields, booleans that are 0 or 1. Zero copy where the data is aligned, which
 * the writer sees to: wide elements first, data from a multiple of 8. Bytes allocated: the misaligned tensors.
 */

import { BYTES, type DType } from "../dtype.ts";
import { type Fail, faultsOf, isBroken, printable } from "./fault.ts";
import { JsonReader } from "./json.ts";
import {
  arrayOver,
  bytesUnder,
  checkTensors,
  countOf,
  type FileTensor,
  type FileTensors,
  findNonBool,
  MAX_RANK,
  plainBytes,
} from "./tensor.ts";

/** The reference reader's own limit. */
const MAX_HEADER = 100_000_000;
const METADATA = "__metadata__";

const NAMES: Readonly<Record<DType, string>> = {
  float64: "F64",
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
  int64: "I64",
  int32: "I32",
  int8: "I8",
  uint8: "U8",
  bool: "BOOL",
};
const DTYPES = new Map(Object.entries(NAMES).map(([dtype, name]) => [name, dtype as DType]));

/** What a safetensors file holds. */
export interface Safetensors {
  /** The file's notes about itself. The object has no prototype. */
  metadata: Record<string, string>;
  /** Tensors by name, in the order of the header. */
  tensors: Map<string, FileTensor>;
}

interface Entry {
  name: string;
  dtype: DType;
  shape: number[];
  begin: number;
  end: number;
}

/**
 * Reads a safetensors file. A tensor's data is a view of `bytes` where its elements are aligned in memory, else a
 * copy.
 *
 * @param bytes The whole file. It may be hostile: nothing is allocated from a count that was not checked.
 * @param options `name`: what messages call the file; "safetensors" unless told.
 * @throws {SyntaxError} The file breaks the format; the message names file and field.
 * @throws {TypeError} `bytes` is no Uint8Array.
 *
 * @example
 * ```ts
 * import { readSafetensors, writeSafetensors } from "flashtile/io";
 * const q = { dtype: "float32" as const, shape: [1, 2], data: new Float32Array([3, 4]) };
 * const file = writeSafetensors({ metadata: { note: "two" }, tensors: { q } });
 * const { metadata, tensors } = readSafetensors(file, { name: "two.safetensors" });
 * console.log(metadata.note, tensors.get("q")!.shape); // two [ 1, 2 ]
 * ```
 */
export function readSafetensors(bytes: Uint8Array, options: { name?: string } = {}): Safetensors {
  const fail = faultsOf(options.name ?? "safetensors");
  const file = plainBytes(bytes);
  const start = dataStart(file, fail);
  const { metadata, entries } = readHeader(file.subarray(8, start), fail);
  const data = file.subarray(start);
  checkCover(entries, data.length, fail);
  const tensors = new Map<string, FileTensor>();
  for (const { name, dtype, shape, begin, end } of entries) {
    const range = data.subarray(begin, end);
    const at = dtype === "bool" ? findNonBool(range) : -1;
    if (at >= 0) fail(fieldOf([name, "data"]), `expected 0 or 1, got ${range[at]} at ${at}`);
    tensors.set(name, { dtype, shape, data: arrayOver(dtype, range) });
  }
  return { metadata, tensors };
}

/** Where the data starts: behind the header, whose length is checked. */
function dataStart(file: Uint8Array, fail: Fail): number {
  if (file.length < 8) fail("header length", `expected 8 bytes, got ${file.length}`);
  const length = new DataView(file.buffer, file.byteOffset, 8).getBigUint64(0, true);
  const most = Math.min(file.length - 8, MAX_HEADER);
  if (length > BigInt(most)) fail("header length", `expected ≤ ${most}, got ${length}`);
  return 8 + Number(length);
}

function readHeader(bytes: Uint8Array, fail: Fail): { metadata: Record<string, string>; entries: Entry[] } {
  if (bytes[0] !== 0x7b) {
    fail("header", `expected a JSON object from the first byte, got byte ${bytes[0] ?? "none"}`);
  }
  const json = new JsonReader(decode(bytes, fail), (path, problem) => fail(fieldOf(path), problem));
  const metadata = Object.create(null) as Record<string, string>;
  const entries: Entry[] = [];
  json.object((name) => {
    if (name === METADATA) json.object((key) => metadata[key] = json.string());
    else entries.push(readEntry(json, name));
  });
  json.end();
  return { metadata, entries };
}

/** A place in the header by its name in {@link Safetensors}. */
function fieldOf(path: readonly (string | number)[]): string {
  if (path.length === 0) return "header";
  const steps = path.map((step) => printable(String(step)));
  return (path[0] === METADATA ? ["metadata", ...steps.slice(1)] : ["tensors", ...steps]).join(".");
}

function decode(bytes: Uint8Array, fail: Fail): string {
  // Browsers decode no shared memory.
  const own = bytes.buffer instanceof ArrayBuffer ? bytes : new Uint8Array(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(own);
  } catch {
    return fail("header", "expected UTF-8, got bytes that are not");
  }
}

function readEntry(json: JsonReader, name: string): Entry {
  let dtype: DType | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  json.object((key) => {
    if (key === "dtype") dtype = readDType(json);
    else if (key === "shape") shape = json.counts(MAX_RANK);
    else if (key === "data_offsets") {
      offsets = json.counts(2);
      if (offsets.length < 2) json.fail(`expected 2 integers, got ${offsets.length}`);
    } else json.fail("expected only dtype, shape and data_offsets, got another key");
  });
  if (dtype === undefined) json.fail("expected dtype, got none");
  if (shape === undefined) json.fail("expected shape, got none");
  if (offsets === undefined) json.fail("expected data_offsets, got none");
  return { name, dtype, shape, begin: offsets[0]!, end: offsets[1]! };
}

function readDType(json: JsonReader): DType {
  const name = json.string();
  return DTYPES.get(name) ?? json.fail(`expected ${[...DTYPES.keys()].join(", ")}, got ${printable(name)}`);
}

/** Every tensor has the bytes its shape needs, and together they cover the data once. */
function checkCover(entries: readonly Entry[], size: number, fail: Fail): void {
  for (const { name, dtype, shape, begin, end } of entries) {
    const length = countOf(shape) * BYTES[dtype];
    const field = (last: string) => fieldOf([name, last]);
    if (end > size) fail(field("data_offsets"), `expected end ≤ ${size}, got ${end}`);
    if (begin > end) fail(field("data_offsets"), `expected begin ≤ end, got ${begin} > ${end}`);
    if (Number.isNaN(length)) {
      fail(field("shape"), `expected at most 2^53 - 1 elements, got [${shape.join(", ")}]`);
    }
    if (end - begin !== length) {
      fail(
        field("data_offsets"),
        `expected ${length} bytes for ${dtype} [${shape.join(", ")}], got ${end - begin}`,
      );
    }
  }
  let covered = 0;
  for (const { name, begin, end } of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== covered) {
      const what = begin < covered ? "an overlap" : "a hole";
      fail(fieldOf([name, "data_offsets"]), `expected begin ${covered}, got ${begin}: ${what}`);
    }
    covered = end;
  }
  if (covered !== size) fail("data", `expected ${covered} bytes, got ${size}`);
}

/**
 * Writes a safetensors file. The header keeps the order of `tensors`; the data goes by element size, widest first,
 * so that every tensor is aligned. The same input gives the same bytes.
 *
 * @param content `tensors` by name, dense and in C order; `metadata`, notes that are strings.
 * @returns The file: 8 + header (padded to a multiple of 8) + data bytes.
 * @throws {TypeError} A wrong kind: unknown dtype, data in the wrong array, metadata that is no string.
 * @throws {RangeError} A wrong value: length against shape, booleans other than 0 and 1, a name that is reserved.
 *
 * @example
 * ```ts
 * import { writeSafetensors } from "flashtile/io";
 * const x = { dtype: "float16" as const, shape: [2], data: new Uint16Array([0x3c00, 0x4000]) };
 * const file = writeSafetensors({ tensors: new Map([["x", x]]) });
 * console.log(file.length); // 68
 * ```
 */
export function writeSafetensors(
  content: { metadata?: Readonly<Record<string, string>>; tensors: FileTensors },
): Uint8Array {
  const named = checkTensors(content.tensors);
  const ranges = new Map<string, [begin: number, end: number]>();
  let size = 0;
  for (const [name, { data }] of named.toSorted((a, b) => BYTES[b[1].dtype] - BYTES[a[1].dtype])) {
    ranges.set(name, [size, size += data.byteLength]);
  }
  const members = metadataMembers(content.metadata);
  for (const [name, { dtype, shape }] of named) {
    if (name === METADATA || isBroken(name)) {
      throw new RangeError(
        `tensors: expected names in Unicode other than ${METADATA}, got ${printable(name)}`,
      );
    }
    members.push(member(name, { dtype: NAMES[dtype], shape, data_offsets: ranges.get(name)! }));
  }
  const header = new TextEncoder().encode(`{${members.join(",")}}`);
  const start = 8 + Math.ceil(header.length / 8) * 8;
  if (start - 8 > MAX_HEADER) {
    throw new RangeError(`header: expected ≤ ${MAX_HEADER} bytes, got ${start - 8}`);
  }
  const file = new Uint8Array(start + size);
  new DataView(file.buffer).setBigUint64(0, BigInt(start - 8), true);
  file.fill(0x20, 8, start);
  file.set(header, 8);
  for (const [name, { data }] of named) file.set(bytesUnder(data), start + ranges.get(name)![0]);
  return file;
}

function metadataMembers(metadata: Readonly<Record<string, string>> | undefined): string[] {
  if (metadata === undefined) return [];
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string") {
      throw new TypeError(`metadata.${key}: expected a string, got ${typeof value}`);
    }
    if (isBroken(key) || isBroken(value)) {
      throw new RangeError(`metadata.${printable(key)}: expected Unicode, got half a pair`);
    }
  }
  return [member(METADATA, metadata)];
}

/** By hand, because `{ __proto__: x }` sets a prototype and drops the key. */
function member(key: string, value: unknown): string {
  return `${JSON.stringify(key)}:${JSON.stringify(value)}`;
}
