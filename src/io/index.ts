/**
 * File formats: strict, bounded readers and writers of safetensors, npy and npz, from bytes and to bytes, with no
 * file system, so that they run in a browser or a Worker as they are.
 *
 * @module flashtile/io
 */

export type { DType, TypedArray } from "../dtype.ts";
export { readNpy, writeNpy } from "./npy.ts";
export { readNpz, writeNpz } from "./npz.ts";
export { readSafetensors, type Safetensors, writeSafetensors } from "./safetensors.ts";
export type { FileTensor, FileTensors } from "./tensor.ts";
