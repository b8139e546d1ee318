/**
 * `flashtile/calibrate`: which precision for which layer of a model, chosen on samples of it and kept as plain data.
 *
 * @module flashtile/calibrate
 */
export type { DType, TypedArray } from "../dtype.ts";
export type { AttentionOptions } from "../options.ts";
export type { Precision } from "../precision.ts";
export type { AttentionResult } from "../result.ts";
export type { TensorInput } from "../tensor.ts";
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
