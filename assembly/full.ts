/**
 * The ABI of the full builds: everything of index.ts; decoding over a cache, and the layers round attention; the scalar
 * twin of every kernel, and what is there to be tested or measured alone.
 */
export * from "./index";
export { linear_f32, linear_f32_scalar, linear_scratch, pack_weights } from "./ops/linear";
export { rmsnorm_f32, rmsnorm_f32_scalar } from "./ops/rmsnorm";
export { add_f32, add_f32_scalar, silu_f32, silu_f32_scalar } from "./ops/silu";
export {
  decode_f32,
  decode_f32_scalar,
  decode_scratch,
  merge_state_f32,
  scatter_rows_f32,
} from "./ops/decode";
export { pack_q_rows_f32 } from "./tile/pack_rows";
export { qk_f32_rows, qk_f32_rows_scalar } from "./tile/qk_rows";
export { pv_f32_rows, pv_f32_rows_scalar } from "./tile/pv_rows";
export { canary } from "./math/canary";
export { exp2_f32, exp2_f32_scalar } from "./math/exp2";
export { tanh_f32 } from "./math/tanh";
export { rotary_f32_scalar } from "./ops/rotary";
export { softmax_f32_scalar } from "./ops/softmax";
export { drop_f32_64_scalar } from "./tile/drop_f32_64";
export { unpack_v_e4m3_scalar } from "./tile/e4m3";
export { unpack_i4_scalar } from "./tile/nibbles";
export { gemm_f32_4x8_scalar } from "./tile/gemm_f32_4x8";
export { pv_i16_4x16_scalar } from "./tile/pv_i16_4x16";
export { qk_i16_4x16_scalar } from "./tile/qk_i16_4x16";
export { qk_i4_4x32_scalar } from "./tile/qk_i4_4x32";
export { softmax_f32_4x64_scalar } from "./tile/softmax_f32_4x64";
export { softmax_i16_4x64_scalar } from "./tile/softmax_i16_4x64";
