/**
 * ONNX: what its attention operators compute, exactly, by the rules of their specifications, and its node tests as
 * case files. The main output may come from any implementation of attention; the float64 oracle is the default.
 *
 * @module flashtile/onnx
 */
export type { FloatTensor, Tensor, TensorInput } from "../tensor.ts";
export type { AttentionFunction, NodeOptions, Operations, ScoreStage } from "./node.ts";
export {
  attention,
  type AttentionAttributes,
  type AttentionInputs,
  type AttentionOutputs,
} from "./attention.ts";
export type { Comparison } from "./bounds.ts";
export { compareOnnxCase, isOnnxCase, type Metadata, runOnnxCase } from "./case.ts";
export { flexAttention, type FlexAttentionAttributes, type FlexAttentionInputs } from "./flex.ts";
export {
  groupQueryAttention,
  type GroupQueryAttentionAttributes,
  type GroupQueryAttentionInputs,
  type GroupQueryAttentionOutputs,
} from "./groupQuery.ts";
export {
  multiHeadAttention,
  type MultiHeadAttentionAttributes,
  type MultiHeadAttentionInputs,
  type MultiHeadAttentionOutputs,
} from "./multiHead.ts";
export { rotaryEmbedding, type RotaryEmbeddingAttributes, type RotaryEmbeddingInputs } from "./rotary.ts";
export { logSoftmax, softmax } from "./softmax.ts";
