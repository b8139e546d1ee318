/**
 * The kernel table: one row a kernel, the export of its scalar twin and the export that overrides it. Twins are in the
 * full build alone (assembly/full.ts), for tests and benches, which walk the table so that a kernel without a twin, or
 * a twin without a test, shows.
 */
import type { KernelExports } from "./exports.ts";
import type { Engine } from "./load.ts";

export interface KernelRow {
  /** op_dtype: the name under which operations call it. */
  readonly name: keyof KernelExports;
  readonly op: string;
  readonly scalar: keyof KernelExports;
  readonly simd: keyof KernelExports;
}

export const TABLE: readonly KernelRow[] = [
  row("exp2_f32", "exp2"),
  row("gemm_f32_4x8", "forward"),
  row("softmax_f32_4x64", "forward"),
  row("drop_f32_64", "forward"),
  row("qk_i16_4x16", "forward_i16"),
  row("softmax_i16_4x64", "forward_i16"),
  row("pv_i16_4x16", "forward_i16"),
  row("unpack_i4", "forward_i4"),
  row("qk_i4_4x32", "forward_i4"),
  row("unpack_v_e4m3", "forward_e4m3"),
  row("decode_f32", "decode"),
  row("qk_f32_rows", "decode"),
  row("pv_f32_rows", "decode"),
  row("softmax_f32", "softmax"),
  row("linear_f32", "linear"),
  row("rmsnorm_f32", "rmsnorm"),
  row("rotary_f32", "rotary"),
  row("silu_f32", "silu"),
  row("add_f32", "add"),
];

function row(name: keyof KernelExports, op: string): KernelRow {
  return { name, op, scalar: `${name}_scalar` as keyof KernelExports, simd: name };
}

/** The same engine, same memory, with every kernel replaced by its scalar twin. */
export function scalarEngine(engine: Engine): Engine {
  const kernels: Record<string, unknown> = { ...engine.kernels };
  for (const { name, scalar } of TABLE) kernels[name] = engine.kernels[scalar];
  return { ...engine, kernels: kernels as unknown as KernelExports };
}
