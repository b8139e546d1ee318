/**
 * npz: a zip archive of npy files, one a tensor, named `name.npy`: stored (`numpy.savez`) or deflated
 * (`numpy.savez_compressed`). The directory is checked as a whole first (zip.ts), then entry by entry.
 *
 * Bytes allocated: copies of misaligned stored tensors; for deflated ones what they inflate to, under `limit`.
 */

import { type Zippable, zipSync } from "fflate";
import { faultsOf, isBroken, printable } from "./fault.ts";
import { encodeNpy, readNpy } from "./npy.ts";
import { checkTensors, type FileTensor, type FileTensors, plainBytes } from "./tensor.ts";
import { unpack } from "./unpack.ts";
import { readDirectory } from "./zip.ts";

const SUFFIX = ".npy";
const GIB = 2 ** 30;

/**
 * Reads a NumPy archive.
 *
 * @param bytes The whole file. It may be hostile: sizes are checked before anything is allocated from them.
 * @param options `name`: what messages call the file, "npz" unless told. `limit`: bytes that its deflated entries
 * may claim to inflate to, together; 1 GiB unless told. Stored entries need no limit: they are in `bytes`.
 * @returns Tensors by name, without ".npy", in the order of the directory.
 * @throws {SyntaxError} The file breaks the format; the message names file, entry and field.
 * @throws {RangeError} `limit` is no number ≥ 0.
 * @throws {TypeError} `bytes` is no Uint8Array.
 *
 * @example
 * ```ts
 * import { readNpz, writeNpz } from "flashtile/io";
 * const k = { dtype: "int8" as const, shape: [3], data: new Int8Array([1, -2, 3]) };
 * const { tensors } = readNpz(writeNpz({ tensors: { k } }), { name: "k.npz", limit: 1e6 });
 * console.log(tensors.get("k")!.data[1]); // -2
 * ```
 */
export function readNpz(
  bytes: Uint8Array,
  options: { name?: string; limit?: number } = {},
): { tensors: Map<string, FileTensor> } {
  const { name: file = "npz", limit = GIB } = options;
  if (!(limit >= 0)) throw new RangeError(`limit: expected a number of bytes ≥ 0, got ${limit}`);
  const fail = faultsOf(file);
  const archive = plainBytes(bytes);
  const entries = readDirectory(archive, fail);
  let inflated = 0;
  for (const { name, deflated, size } of entries) {
    if (!name.endsWith(SUFFIX)) fail(printable(name), `expected a name that ends in ${SUFFIX}`);
    if (deflated) inflated += size;
    if (inflated > limit) {
      fail(`${printable(name)}: size`, `expected ≤ ${limit} bytes in all, got ${inflated}`);
    }
  }
  const tensors = new Map<string, FileTensor>();
  for (const entry of entries) {
    const npy = unpack(archive, entry, fail);
    tensors.set(
      entry.name.slice(0, -SUFFIX.length),
      readNpy(npy, { name: `${file}: ${printable(entry.name)}` }),
    );
  }
  return { tensors };
}

/**
 * Writes a NumPy archive. The same input gives the same bytes: the time in it is fixed.
 *
 * @param content `tensors` by name, dense and in C order; `compress`: deflate them; false unless told.
 * @returns The file, which `numpy.load` reads.
 * @throws {TypeError} A wrong kind, among them bfloat16, which NumPy does not have.
 * @throws {RangeError} A wrong value: length against shape, a name that zip cannot hold, 4 GiB or more in all.
 *
 * @example
 * ```ts
 * import { writeNpz } from "flashtile/io";
 * const zeros = { dtype: "float32" as const, shape: [1000], data: new Float32Array(1000) };
 * console.log(writeNpz({ tensors: { zeros }, compress: true }).length < 400); // true
 * ```
 */
export function writeNpz(content: { tensors: FileTensors; compress?: boolean }): Uint8Array {
  const named = checkTensors(content.tensors);
  if (named.length >= 0xffff) throw new RangeError(`tensors: expected fewer than 65535, got ${named.length}`);
  const files: Zippable = {};
  let total = 0;
  for (const [name, tensor] of named) {
    const length = new TextEncoder().encode(name + SUFFIX).length;
    if (isBroken(name) || length > 0xffff) {
      throw new RangeError(`tensors: expected names in Unicode of less than 64 KiB, got ${printable(name)}`);
    }
    const npy = encodeNpy(tensor, `tensors.${name}`);
    // Two headers with the name, and room for stored blocks where deflate finds nothing to save.
    total += npy.length * 1.001 + 2 * length + 128;
    if (total >= 4 * GIB) throw new RangeError(`tensors: expected less than 4 GiB, got ${total}`);
    files[name + SUFFIX] = npy;
  }
  // Zip keeps local time, so this is one string of bits in every time zone.
  return zipSync(files, { level: content.compress ? 6 : 0, mtime: new Date(1980, 0, 1) });
}
