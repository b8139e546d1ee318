/**
 * flash-attention's signatures: flash_attn_func, flash_attn_varlen_func, flash_attn_with_kvcache.
 *
 * Their rules are the preset "flashAttention2"; tensors are [B,N,H,D], packed [total,H,D], lse [B,H,N].
 */
import { describe, flag } from "../check.ts";
import { integers, type TensorInput } from "../tensor.ts";
import type { AttentionOptions, Vector } from "../options.ts";
import type { AttentionResult } from "../result.ts";
import { attendCache, CACHE_NAMES, type CacheOptions } from "./kvcache.ts";
import { type Attention, expectNames, given } from "./names.ts";

type Out = AttentionResult["out"];

/** Keyword arguments of flash_attn_func, in camel case. */
export interface FlashAttnOptions {
  /** Entries of P that are dropped; 0 unless given. */
  readonly dropoutP?: number;
  /** 1/√D unless given. */
  readonly softmaxScale?: number | null;
  /** From the bottom right. */
  readonly causal?: boolean;
  /** Keys left and right of the diagonal, −1 open. */
  readonly windowSize?: readonly [number, number];
  readonly softcap?: number;
  /** [H] or [B,H]. */
  readonly alibiSlopes?: Vector | null;
  /** Everything here is. */
  readonly deterministic?: boolean;
  /** Also return the lse and P, after dropout. */
  readonly returnAttnProbs?: boolean;
  /** Of the dropout mask; 0 unless given. */
  readonly seed?: number;
}

/** What returnAttnProbs gives: out, softmax_lse, P. */
export type WithProbabilities = [out: Out, softmaxLse: Out, probabilities: Out];

/** flash-attention's functions. */
export interface FlashAttn {
  /** flash_attn_func: q [B,N,H,D], k [B,M,G,D], v [B,M,G,E] → [B,N,H,E]. */
  func(
    q: TensorInput,
    k: TensorInput,
    v: TensorInput,
    options: FlashAttnOptions & { returnAttnProbs: true },
  ): WithProbabilities;
  /** flash_attn_func: q [B,N,H,D], k [B,M,G,D], v [B,M,G,E]. */
  func(q: TensorInput, k: TensorInput, v: TensorInput, options?: FlashAttnOptions): Out;
  /** flash_attn_varlen_func: q [total,H,D], k [total,G,D], v [total,G,E], cuSeqlens [B+1] → [total,H,E]. */
  varlenFunc(
    q: TensorInput,
    k: TensorInput,
    v: TensorInput,
    cuSeqlensQ: Vector,
    cuSeqlensK: Vector,
    maxSeqlenQ: number,
    maxSeqlenK: number,
    options: FlashAttnOptions & { returnAttnProbs: true },
  ): WithProbabilities;
  /** flash_attn_varlen_func: packed sequences, [total,H,D]. */
  varlenFunc(
    q: TensorInput,
    k: TensorInput,
    v: TensorInput,
    cuSeqlensQ: Vector,
    cuSeqlensK: Vector,
    maxSeqlenQ: number,
    maxSeqlenK: number,
    options?: FlashAttnOptions,
  ): Out;
  /** flash_attn_with_kvcache: q [B,N,H,D] against caches that it appends to in place; see {@link CacheOptions}. */
  withKvCache(
    q: TensorInput,
    kCache: TensorInput,
    vCache: TensorInput,
    options: CacheOptions & { returnSoftmaxLse: true },
  ): [out: Out, softmaxLse: Out];
  /** flash_attn_with_kvcache: appends, rotates and attends. */
  withKvCache(q: TensorInput, kCache: TensorInput, vCache: TensorInput, options?: CacheOptions): Out;
}

const NAMES = [
  ...["dropoutP", "softmaxScale", "causal", "windowSize", "softcap", "alibiSlopes", "deterministic"],
  ...["returnAttnProbs", "seed"],
];

/**
 * flash-attention's functions over an implementation of attention.
 *
 * @example
 * ```ts
 * import { flashAttnOf } from "flashtile/compat";
 * import { attention } from "flashtile/reference";
 * const flashAttn = flashAttnOf(attention);
 * const x = { data: new Float32Array([1, 2, 3]), shape: [1, 3, 1, 1] };
 * console.log(flashAttn.func(x, x, x, { causal: true }).shape); // [ 1, 3, 1, 1 ]
 * ```
 */
export function flashAttnOf(attention: Attention): FlashAttn {
  function run(
    q: TensorInput,
    k: TensorInput,
    v: TensorInput,
    given: FlashAttnOptions,
    own: AttentionOptions,
  ) {
    expectNames(given, NAMES);
    flag("deterministic", given.deterministic);
    const all = flag("returnAttnProbs", given.returnAttnProbs);
    const dropout = given.dropoutP ? { p: given.dropoutP, seed: given.seed ?? 0 } : null;
    const options = { ...common(given), ...own, ...(dropout && { dropout }) };
    const result = attention(q, k, v, all ? { ...options, lse: true, probabilities: true } : options);
    return all ? [result.out, result.lse, result.probabilities] : result.out;
  }
  return {
    func: (q: TensorInput, k: TensorInput, v: TensorInput, options: FlashAttnOptions = {}) =>
      run(q, k, v, options, { layout: "bnhd" }),
    varlenFunc: (
      ...[q, k, v, cuSeqlensQ, cuSeqlensK, maxSeqlenQ, maxSeqlenK, options = {}]: [
        ...[q: TensorInput, k: TensorInput, v: TensorInput],
        ...[cuSeqlensQ: Vector, cuSeqlensK: Vector, maxSeqlenQ: number, maxSeqlenK: number],
        ...[options?: FlashAttnOptions],
      ]
    ) => {
      atLeastLongest("maxSeqlenQ", maxSeqlenQ, cuSeqlensQ);
      atLeastLongest("maxSeqlenK", maxSeqlenK, cuSeqlensK);
      return run(q, k, v, options, { layout: "thd", cuSeqlens: { q: cuSeqlensQ, k: cuSeqlensK } });
    },
    withKvCache: (q: TensorInput, kCache: TensorInput, vCache: TensorInput, options: CacheOptions = {}) => {
      expectNames(options, CACHE_NAMES);
      const all = flag("returnSoftmaxLse", options.returnSoftmaxLse);
      const { out, lse } = attendCache(attention, q, kCache, vCache, options, common(options));
      return all ? [out, lse] : out;
    },
  } as FlashAttn;
}

/** What the three have in common. */
function common(options: FlashAttnOptions | CacheOptions): AttentionOptions {
  const { softmaxScale, causal, windowSize, softcap, alibiSlopes } = options;
  return {
    semantics: "flashAttention2",
    ...given({ scale: softmaxScale, causal, softcap, alibiSlopes }),
    // Any negative number is open.
    ...(windowSize &&
      { window: windowSize.map((side) => side < 0 ? null : side) as [number | null, number | null] }),
  };
}

/** The longest sequence sizes the grid of a GPU; here it is only checked. */
function atLeastLongest(name: string, max: number, cuSeqlens: Vector): void {
  const cu = integers(name, "data" in cuSeqlens ? cuSeqlens.data as Int32Array : cuSeqlens);
  const longest = cu.slice(1).reduce((top, end, b) => Math.max(top, end - cu[b]), 0);
  if (typeof max !== "number") throw new TypeError(`${name}: expected a number, got ${describe(max)}`);
  if (!(max >= longest)) throw new RangeError(`${name}: expected at least ${longest}, got ${max}`);
}
