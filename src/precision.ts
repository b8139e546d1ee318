/**
 * What arithmetic attention is computed in, as data: float32, or a recipe of quantisation.
 *
 *   "int12"   Q K P V in 12 bits: the speed of int8 where i16 dot products are what the machine has
 *   "int8"    QKᵀ in 8 bits, P·V in 12
 *   sage()    the published SageAttention pipelines, every part of which can be changed
 *
 * Papers: SageAttention (arXiv 2410.02367), SageAttention2 (2411.10958), 2++ (2505.21136), 3 (2505.11594).
 */
import { oneOf } from "./check.ts";
import { sage, type SageOptions } from "./sage.ts";

/**
 * Type of Q and K in S = QKᵀ; "int7" is what products of bytes leave room for (assembly/tile/i8_4x16.ts), "int16" has
 * as many bits as 32-bit sums of D products do.
 */
export type ScoreType = "float32" | "int16" | "int12" | "int8" | "int7" | "int4" | "fp4";

/**
 * Type of P and V in O = PV; "fp8" is E4M3, "int7" 7 bits of P, which has no sign, and 7 of V with it. "float32/fp8": P
 * is not rounded and V is E4M3, a quarter of float32's bytes.
 */
export type ValueType =
  | ("float32" | "float32/fp8" | "fp16" | "fp8" | "fp8e5m2")
  | ("int16" | "int12" | "int8" | "int7" | "fp4");

/** Which rows of a head share one scale; see src/reference/groups.ts. */
export type Granularity = "tensor" | "block" | "warp" | "thread" | "token";

/** Ties of the integer rounding: away from zero (Triton's kernels) or to even (CUDA's, and ours). */
export type Rounding = "half-away" | "half-even";

/**
 * What P·V is summed in. "float32" is what a CPU does. The others are those of tensor cores: "fp22" is the sum in one
 * register of 13 mantissa bits that an FP8 product with "fp32 accumulation" really has; "fp16" the same with
 * float16; "fp32+fp32" and "fp32+fp16" sum 64 keys that way and add them to a true float32.
 */
export type Accumulator = "float32" | "fp22" | "fp16" | "fp32+fp32" | "fp32+fp16";

/** A quantised pipeline, complete. */
export interface Recipe {
  readonly qk: ScoreType;
  readonly granularity: { readonly q: Granularity; readonly k: Granularity };
  readonly rounding: Rounding;
  /** Subtract the mean of all keys from K. */
  readonly smoothK: boolean;
  /** Subtract the mean of its block, or of all queries of the head, from Q; what it scores is added back. */
  readonly smoothQ: false | "block" | "head";
  /** Subtract the mean of all values from V; it is added to O. */
  readonly smoothV: boolean;
  readonly pv: ValueType;
  /**
   * What P's static scale is relative to: the maximum of the row so far ("row", as published), or that of the tile of
   * 64 keys ("tile", ours), so that keys far below an attention sink keep all their bits.
   */
  readonly pScale: "row" | "tile";
  /** Scales of V per channel: one for all keys, or one for each tile of 64. */
  readonly vScale: "head" | "tile";
  readonly accumulator: Accumulator;
  /** Rows of a block of Q (also of `smoothQ`) and of K, and of a warp of Q. */
  readonly blockQ: number;
  readonly blockK: number;
  readonly warpQ: number;
}

export { sage, type SageOptions };

/** The option `precision`. */
export type Precision = "float32" | "int12" | "int8" | SageOptions;

/** Keys whose P·V is summed before it joins O. */
export const TILE = 64;

const integral: SageOptions = {
  granularity: "token",
  rounding: "half-even",
  smoothV: true,
  pv: "int12",
  pScale: "tile",
  vScale: "tile",
};

/** Made when asked for first: a recipe costs every import 0.05 ms. */
const made: { int12?: Recipe; int8?: Recipe } = {};

/**
 * The recipe of the option `precision`; null is float32.
 *
 * @throws {TypeError} A wrong kind. @throws {RangeError} A wrong value.
 */
export function resolvePrecision(input: unknown): Recipe | null {
  if (input === undefined) return null;
  if (typeof input !== "string") return sage(input as SageOptions);
  const qk = oneOf("precision", input, ["float32", "int12", "int8"] as const);
  return qk === "float32" ? null : made[qk] ??= sage({ ...integral, qk });
}

/** @throws RangeError for a recipe. */
export function expectFloat32({ precision }: { readonly precision: Recipe | null }): void {
  if (precision !== null) {
    throw new RangeError('precision: expected "float32" here; the quantised pipelines are in `attention`');
  }
}
