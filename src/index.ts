/**
 * Exact, IO-aware attention on WebAssembly SIMD, in any JavaScript runtime.
 *
 * @module flashtile
 */
export type { DType, TypedArray } from "./dtype.ts";
export { FlashtileError, type FlashtileErrorCode } from "./errors.ts";
export type { AttentionOptions, Dropout, Layout, PerHead, Vector, Window } from "./options.ts";
export {
  type Accumulator,
  type Granularity,
  type Precision,
  type Recipe,
  type Rounding,
  sage,
  type SageOptions,
  type ScoreType,
  type ValueType,
} from "./precision.ts";
export type { SliceOptions } from "./ops/steps.ts";
export type { Caches, Cost, Plan, Tiles } from "./plan/index.ts";
export type { AttentionResult } from "./result.ts";
export {
  type AsyncAttentionOptions,
  type AttentionPlan,
  attentionSync as attention,
  createRuntime,
  type PlanShapes,
  Runtime,
  type RuntimeOptions,
  type ScoreOptions,
  type SyncOperations,
  type SyncPlan,
} from "./runtime.ts";
export { type RuntimeDType, RuntimeTensor } from "./runtimetensor.ts";
export type { ScoreStage } from "./ops/scores.ts";
export type { SoftmaxOptions } from "./ops/softmax.ts";
export type { RotaryTables } from "./rotary.ts";
export { type Align, defaults, presets, type Semantics, type SemanticsName } from "./semantics.ts";
export type { Tensor, TensorInput } from "./tensor.ts";
export { deterministic } from "./wasm/deterministic.ts";
export type { Kernels } from "./wasm/load.ts";
