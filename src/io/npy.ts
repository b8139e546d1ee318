/**
 * npy: "\x93NUMPY", version, header length (u16 in 1.0, u32 in 2.0 and 3.0), a Python dict literal
 * { 'descr', 'fortran_order', 'shape' } closed by a newline, then the elements.
 *
 * Source: NumPy's numpy/lib/format.py (NEP 1). Big-endian data is swapped and Fortran order transposed while it is
 * copied, once; otherwise the data is a view where it is aligned. The writer's bytes are those of `numpy.save`.
 */

import { BYTES, type DType } from "../dtype.ts";
import { type Fail, faultsOf } from "./fault.ts";
import { type Descr, parseHeader } from "./npyheader.ts";
import {
  arrayOver,
  bytesUnder,
  checkTensor,
  countOf,
  type FileTensor,
  findNonBool,
  plainBytes,
} from "./tensor.ts";

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

/** NumPy's own limit, max_header_size; rank 32 takes less than 1 KiB. */
const MAX_HEADER = 10000;

/** numpy.save leaves room for the first length to grow to 21 digits, and aligns the data to 64 bytes. */
const GROWTH = 21;
const ALIGNMENT = 64;

const DESCRS: Readonly<Partial<Record<DType, string>>> = {
  float64: "<f8",
  float32: "<f4",
  float16: "<f2",
  int64: "<i8",
  int32: "<i4",
  int8: "|i1",
  uint8: "|u1",
  bool: "|b1",
};

/**
 * Reads a NumPy array file, versions 1.0 to 3.0. The data is a view of `bytes` where its elements are aligned,
 * little-endian and in C order, else a copy that is.
 *
 * @param bytes The whole file. It may be hostile: nothing is allocated from a count that was not checked.
 * @param options `name`: what messages call the file; "npy" unless told.
 * @throws {SyntaxError} The file breaks the format or holds elements with no {@link DType}; names file and field.
 * @throws {TypeError} `bytes` is no Uint8Array.
 *
 * @example
 * ```ts
 * import { readNpy, writeNpy } from "flashtile/io";
 * const file = writeNpy({ dtype: "float64", shape: [2, 1], data: new Float64Array([0.5, 2]) });
 * const { dtype, shape, data } = readNpy(file, { name: "x.npy" });
 * console.log(dtype, shape, data[1]); // float64 [ 2, 1 ] 2
 * ```
 */
export function readNpy(bytes: Uint8Array, options: { name?: string } = {}): FileTensor {
  const fail = faultsOf(options.name ?? "npy");
  const file = plainBytes(bytes);
  const [begin, end] = headerRange(file, fail);
  const { descr, fortran, shape } = parseHeader(file.subarray(begin, end), fail);
  const { dtype } = descr;
  const data = file.subarray(end);
  const length = countOf(shape) * BYTES[dtype];
  if (Number.isNaN(length)) fail("shape", `expected at most 2^53 - 1 elements, got (${shape.join(", ")})`);
  if (length !== data.length) {
    fail("data", `expected ${length} bytes for ${dtype} (${shape.join(", ")}), got ${data.length}`);
  }
  const at = dtype === "bool" ? findNonBool(data) : -1;
  if (at >= 0) fail("data", `expected 0 or 1, got ${data[at]} at ${at}`);
  const ordered = fortran || descr.bigEndian ? reorder(data, descr, shape, fortran) : data;
  return { dtype, shape, data: arrayOver(dtype, ordered) };
}

/** The header's range: its length is checked against the file. */
function headerRange(file: Uint8Array, fail: Fail): [begin: number, end: number] {
  if (file.length < 8 || MAGIC.some((byte, i) => file[i] !== byte)) {
    fail("magic", `expected "\\x93NUMPY" and a version`);
  }
  const [major, minor] = [file[6]!, file[7]!];
  if (major < 1 || major > 3 || minor !== 0) {
    fail("version", `expected 1.0, 2.0 or 3.0, got ${major}.${minor}`);
  }
  const begin = major === 1 ? 10 : 12;
  if (file.length < begin) fail("header length", `expected ${begin - 8} bytes, got ${file.length - 8}`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const most = Math.min(file.length - begin, MAX_HEADER);
  if (length > most) fail("header length", `expected ≤ ${most}, got ${length}`);
  return [begin, begin + length];
}

/**
 * The elements in C order and little-endian. An odometer walks the output; element (i₀ … i_r) of Fortran order lies
 * at Σ i_a·∏_{b<a} shape_b. Byte by byte, so that no alignment is asked of the file.
 */
function reorder(
  data: Uint8Array,
  { dtype, bigEndian }: Descr,
  shape: number[],
  fortran: boolean,
): Uint8Array {
  const size = BYTES[dtype];
  // Sizes are powers of two: b ^ (size − 1) is size − 1 − b.
  const flip = bigEndian ? size - 1 : 0;
  const strides = stridesOf(shape, size, fortran);
  const index = shape.map(() => 0);
  const out = new Uint8Array(data.length);
  let from = 0;
  for (let to = 0; to < out.length; to += size) {
    for (let b = 0; b < size; b++) out[to + (b ^ flip)] = data[from + b]!;
    for (let a = shape.length - 1; a >= 0; a--) {
      from += strides[a]!;
      if (++index[a]! < shape[a]!) break;
      from -= strides[a]! * shape[a]!;
      index[a] = 0;
    }
  }
  return out;
}

/** Bytes from an element to its neighbour along each axis: the first axis is the closest in Fortran order. */
function stridesOf(shape: readonly number[], size: number, fortran: boolean): number[] {
  const strides = shape.map(() => 0);
  let stride = size;
  for (let i = 0; i < shape.length; i++) {
    const a = fortran ? i : shape.length - 1 - i;
    strides[a] = stride;
    stride *= shape[a]!;
  }
  return strides;
}

/**
 * Writes a NumPy array file, version 1.0: byte for byte what `numpy.save` writes.
 *
 * @param tensor Dense, in C order.
 * @returns The file; its data begins at a multiple of 64.
 * @throws {TypeError} A wrong kind, among them bfloat16, which NumPy does not have.
 * @throws {RangeError} A wrong value: length against shape, booleans other than 0 and 1.
 *
 * @example
 * ```ts
 * import { writeNpy } from "flashtile/io";
 * const file = writeNpy({ dtype: "bool", shape: [3], data: new Uint8Array([1, 0, 1]) });
 * console.log(file.length); // 131
 * ```
 */
export function writeNpy(tensor: FileTensor): Uint8Array {
  checkTensor(tensor, "tensor");
  return encodeNpy(tensor, "tensor");
}

/** The file of a checked tensor, which messages call `field`. */
export function encodeNpy({ dtype, shape, data }: FileTensor, field: string): Uint8Array {
  const descr = DESCRS[dtype];
  if (!descr) throw new TypeError(`${field}.dtype: expected one that NumPy has, got ${dtype}`);
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  const literal = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const room = shape.length > 0 ? GROWTH - String(shape[0]).length : 0;
  const start = Math.ceil((10 + literal.length + room + 1) / ALIGNMENT) * ALIGNMENT;
  const file = new Uint8Array(start + data.byteLength);
  file.set([...MAGIC, 1, 0, (start - 10) & 255, (start - 10) >> 8]);
  file.fill(0x20, 10, start - 1);
  for (let i = 0; i < literal.length; i++) file[10 + i] = literal.charCodeAt(i);
  file[start - 1] = 0x0a;
  file.set(bytesUnder(data), start);
  return file;
}
