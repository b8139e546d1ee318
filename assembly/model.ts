/** The ABI of the model builds: everything of index.ts, decoding over a cache, and the layers round attention. */
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
