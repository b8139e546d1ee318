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
export { type BlockLists, BlockMask, type BlockSize, type MaskMod } from "../sparse/blockmask.ts";
export { defaults, presets } from "../semantics.ts";
export { sage } from "../precision.ts";
export { attention } from "./attention.ts";
export { attentionTiled, type Tile } from "./tiled.ts";
export { attentionBackward } from "./backward.ts";
export {
  type AttentionFunction,
  calibrate,
  type CalibrateOptions,
  type CalibrationSample,
} from "./calibrate.ts";
export {
  type Calibration,
  type CalibrationMetric,
  type LayerPrecision,
  type Measured,
  parseCalibration,
  precisionOf,
} from "./calibration.ts";
export { type Metrics, metrics } from "./metrics.ts";
export { mergeStates } from "./merge.ts";
export { alibiSlopes } from "./alibi.ts";
export { applyRotary, qkNorm, type RotaryTables } from "./qknorm.ts";
export { fromAttentionMask } from "../compat/attentionmask.ts";
export type { FlashAttn, FlashAttnOptions, WithProbabilities } from "../compat/flashattn.ts";
export type { CacheOptions } from "../compat/kvcache.ts";
export type { Sdpa, SdpaOptions } from "../compat/sdpa.ts";
export { flashAttn, sdpa } from "./compat.ts";
