/** What a caller may ask for. Every field is optional; an explicit field beats the semantics preset. */
import type { DType } from "./dtype.ts";
import type { Precision } from "./precision.ts";
import type { Align, Semantics, SemanticsName } from "./semantics.ts";
import type { BlockMask } from "./sparse/blockmask.ts";
import type { TensorInput } from "./tensor.ts";

/** Keys p − left … p + right round the diagonal p; null or −1 leaves a side open. */
export type Window = readonly [left: number | null, right: number | null];

/** Order of a tensor's axes: batch b, head h, row n (or total rows t of packed sequences), column d. */
export type Layout = "bhnd" | "bnhd" | "thd";

/** Numbers for the whole call, or one per query head. */
export type PerHead<T> = T | readonly T[];

/** A vector, bare or as a tensor. */
export type Vector = TensorInput | ArrayLike<number>;

/** Dropout of P, reproducible. */
export interface Dropout {
  /** Probability of dropping an entry of P, 0 ≤ p < 1; what is kept is divided by 1 − p. */
  readonly p: number;
  /** The mask is a pure function of (seed, b, h, i, j): the same for every tiling, thread count and back end. */
  readonly seed: number;
}

/** What a caller may ask for; every field is optional, and an explicit one beats the semantics preset. */
export interface AttentionOptions {
  /** Default 1/√D; 0 means zero. */
  readonly scale?: number;
  /** Key j is visible to query i iff j ≤ i + offset, with the offset of `align`. */
  readonly causal?: boolean;
  readonly align?: Align;
  readonly window?: PerHead<Window> | null;
  /** The first keys, exempt from the left limit of window and chunk. */
  readonly sinkTokens?: PerHead<number>;
  /** Keys only from the diagonal's own chunk of this many; 0 is off. */
  readonly chunk?: number;
  /** x → softcap·tanh(x/softcap); 0 is off. */
  readonly softcap?: number;
  /** Added to the scores, broadcast to [B,H,N,M]; −∞ masks. */
  readonly bias?: TensorInput;
  /** Boolean, broadcast to [B,H,N,M], or in blocks; true may attend. */
  readonly mask?: TensorInput | BlockMask;
  /** [H] or [B,H]. */
  readonly alibiSlopes?: Vector;
  /** A logit per head that only the denominator sees, [H]. */
  readonly sink?: Vector;
  /** Valid keys of each batch, [B]; moves the bottom-right diagonal to keyLengths[b] − N. */
  readonly keyLengths?: Vector;
  /** Where each sequence starts in the packed "thd" tensors, [B+1] each. */
  readonly cuSeqlens?: { readonly q: Vector; readonly k: Vector };
  /** "bhnd" (default): q [B,H,N,D]. "bnhd": q [B,N,H,D]. "thd": q [total,H,D] with cuSeqlens. */
  readonly layout?: Layout;
  readonly semantics?: SemanticsName | Partial<Semantics>;
  /** "float32" (default), "int12", "int8", or the record that `sage` makes: accuracy for speed. */
  readonly precision?: Precision;
  readonly dropout?: Dropout;
  /** dtype of the result: float32 by default, float64 from the reference. */
  readonly out?: DType;
  /** Also return lse = m + ln l, [B,H,N] ([H,total] with "thd"). */
  readonly lse?: boolean;
  /** Also return P, [B,H,N,M]: 8·B·H·N·M bytes that attention otherwise never needs. */
  readonly probabilities?: boolean;
}
