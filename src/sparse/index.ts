/**
 * `flashtile/sparse`: masks in blocks, for the option `mask`. What a mask leaves out is never computed.
 *
 * @module flashtile/sparse
 */
export type { DType, TypedArray } from "../dtype.ts";
export type { Tensor, TensorInput } from "../tensor.ts";
export { type BlockLists, BlockMask, type BlockSize, type MaskMod } from "./blockmask.ts";
