/**
 * The ABI: every name that JavaScript may call, and nothing else. One source, two builds (asconfig.json): plain
 * SIMD gives the same bits everywhere, relaxed SIMD fuses multiply and add. What only a model needs, caches and the
 * layers round attention, is in model.ts, so that who imports attention does not download it.
 *
 * Memory is imported, the first 64 KiB hold read-only tables, everything above belongs to the arena in
 * src/wasm/arena.ts. Nothing here allocates and nothing here keeps state between calls.
 */
export { relaxed } from "./math/madd";
export { canary } from "./math/canary";
export { convert_bf16_f32, convert_f16_f32 } from "./ops/convert";
export { exp2_f32, exp2_f32_scalar } from "./math/exp2";
export { softmax_f32, softmax_f32_scalar } from "./ops/softmax";
export { tanh_f32 } from "./math/tanh";
export { finish_f32, forward_f32 } from "./ops/forward";
export { weights_f32 } from "./ops/weights";
export { drop_f32_64, drop_f32_64_scalar } from "./tile/drop_f32_64";
export { max_bits_f32, pack_k_f32, pack_q_f32, pack_v_f32 } from "./tile/pack";
export { qk_f32_4x8, qk_f32_4x8_scalar } from "./tile/qk_f32_4x8";
export { pv_f32_4x8, pv_f32_4x8_scalar } from "./tile/pv_f32_4x8";
export { rotary_f32, rotary_f32_scalar } from "./ops/rotary";
export { forward_i16 } from "./ops/quantised";
export { column_sums_f32, dot_rows_f32, pack_rows_i16, pack_v_i16 } from "./tile/quantise";
export { qk_i16_4x16, qk_i16_4x16_scalar } from "./tile/qk_i16_4x16";
export { pv_i16_4x16, pv_i16_4x16_scalar } from "./tile/pv_i16_4x16";
export { narrow_i8, pv_i8_4x16, qk_i8_4x16 } from "./tile/i8_4x16";
export { exp2_table, softmax_i16_4x64, softmax_i16_4x64_scalar } from "./tile/softmax_i16_4x64";
export { softmax_f32_4x64, softmax_f32_4x64_scalar } from "./tile/softmax_f32_4x64";
