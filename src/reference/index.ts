/**
 * The oracle: every operation of the package in plain float64 TypeScript, without WebAssembly, with the same bits on
 * every engine. Slow, short and exact: what the kernels are checked against.
 *
 * @module flashtile/reference
 */
export type { AttentionOptions, Dropout, Layout, PerHead, Vector, Window } from "../options.ts";
export type { BackwardOptions } from "../gradients.ts";
export type { AttentionResult, Gradients } from "../result.ts";
export type { Accumulator, Granularity, Precision, Recipe, SageOptions } from "../precision.ts";
export type { Rounding, ScoreType, ValueType } from "../precision.ts";
export type { Align, Semantics, SemanticsName } from "../semantics.ts";
export type { MergeOptions, State } from "../states.ts";
export type { DType, TypedArray } from "../dtype.ts";
export type { FloatTensor, Tensor, TensorInput } from "../tensor.ts";
export { defaults, presets } from "../semantics.ts";
export { sage } from "../precision.ts";
export { attention } from "./attention.ts";
export { attentionTiled, type Tile } from "./tiled.ts";
export { attentionBackward } from "./backward.ts";
export { mergeStates } from "./merge.ts";
export { alibiSlopes } from "./alibi.ts";
export { applyRotary, qkNorm, type RotaryTables } from "./qknorm.ts";
