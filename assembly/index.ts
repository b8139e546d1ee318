/**
 * The ABI: every name that JavaScript may call, and nothing else. One source, two builds (asconfig.json): plain
 * SIMD gives the same bits everywhere, relaxed SIMD fuses multiply and add. What only a model, a test or a bench needs
 * is in full.ts, so that who imports attention does not download it.
 *
 * Memory is imported, the first 64 KiB hold read-only tables and zeros, everything above belongs to the arena in
 * src/wasm/arena.ts. Nothing here allocates and nothing here keeps state between calls. Tiles are exported so that
 * Binaryen doesn't inline them into their only caller, where V8 would spill.
 */
export { relaxed } from "./math/madd";
export { convert_bf16_f32, convert_f16_f32 } from "./ops/convert";
export { softmax_f32 } from "./ops/softmax";
export { finish_f32 } from "./ops/finish";
export { forward_f32 } from "./ops/forward";
export { heads_f32 } from "./ops/heads";
export { weights_f32 } from "./ops/weights";
export { drop_f32_64 } from "./tile/drop_f32_64";
export { max_bits_f32, pack_k_f32, pack_q_f32, pack_v_f32 } from "./tile/pack";
export { gemm_f32_4x8 } from "./tile/gemm_f32_4x8";
export { expRow, softmax_f32_4x64 } from "./tile/softmax_f32_4x64";
export { rotary_f32 } from "./ops/rotary";
export { forward_i16 } from "./ops/quantised";
export { column_sums_f32, dot_rows_f32, pack_rows_i16, pack_v_i16 } from "./tile/quantise";
export { qk_i16_4x16 } from "./tile/qk_i16_4x16";
export { pv_i16_4x16 } from "./tile/pv_i16_4x16";
export { narrow_i8, pv_i8_4x16, qk_i8_4x16 } from "./tile/i8_4x16";
export { exp2_table, softmax_i16_4x64 } from "./tile/softmax_i16_4x64";
export { pack_i4, unpack_i4 } from "./tile/nibbles";
export { qk_i4_4x32 } from "./tile/qk_i4_4x32";
export { column_max_f32, pack_v_e4m3, unpack_v_e4m3 } from "./tile/e4m3";
