/**
 * Where real systems differ, as data: one record of switches, and the systems by name.
 *
 * The formula is shared by all (src/reference/attention.ts):
 *
 *   x = scale·q·k → softcap → + ALiBi + bias → −∞ where not allowed → softmax (+ sink) → O
 *
 * and a preset says which variant of each switch a system has.
 */

import { complete } from "./check.ts";

/** Row i of N queries sees keys j ≤ i + offset. */
export type Align = "top-left" | "bottom-right" | { readonly offset: number | ArrayLike<number> };

/** The switches in which attention differs between systems. */
export interface Semantics {
  /**
   * Where the diagonal of `causal` and `window` lies unless the option `align` says: from the first query to the first
   * key ("top-left"), from the last query to the last valid key ("bottom-right"), or the former without `keyLengths`
   * and the latter with them ("cache").
   */
  readonly align: "top-left" | "bottom-right" | "cache";
  /** Whether `causal` holds for a single query, or is dropped as if it stood at the end of a cache. */
  readonly singleQuery: "causal" | "sees-all";
  /** O of a row that may see no key. "mean" is what masking with a large finite number amounts to. */
  readonly emptyRow: "zero" | "nan" | "mean";
  /** lse of a row that may see no key (and has no sink). */
  readonly emptyLse: "-inf" | "+inf";
  /** Base of the logarithm in lse. */
  readonly lseBase: "e" | "2";
  /** Whether lse counts the sink; if so, (out, lse) is a state that merges. */
  readonly lseIncludesSink: boolean;
  /**
   * What a slope adds at query i, key j, diagonal p = i + offset: −slope·|p − j| ("distance"); the same, but a causal
   * kernel adds +slope·j alone, which leaves O unchanged and shifts lse by slope·p ("distance-raw"); slope·(j − i)
   * ("relative"); or the slope multiplies the additive bias ("bias").
   */
  readonly alibi: "distance" | "distance-raw" | "relative" | "bias";
  /** Softcap before ALiBi is added, or after. */
  readonly softcap: "before-alibi" | "after-alibi";
  /** An open side of a window: without limit, or FlashAttention-2's M keys from the diagonal if the other is closed. */
  readonly openWindow: "unlimited" | "keys";
  /** Whether `scale: 0` means zero or asks for the default 1/√D. */
  readonly zeroScale: "zero" | "default";
}

/** The systems whose semantics go by name. */
export type SemanticsName =
  | "flashAttention2"
  | "flashAttention4"
  | "sdpa"
  | "onnx23"
  | "onnx24"
  | "onnx25"
  | "flashInfer"
  | "ggml"
  | "ortCpu"
  | "jaxJs";

/** Every switch and the values it has, the default first. */
export const switches: { readonly [Key in keyof Semantics]: readonly Semantics[Key][] } = {
  align: ["bottom-right", "top-left", "cache"],
  singleQuery: ["causal", "sees-all"],
  emptyRow: ["zero", "nan", "mean"],
  emptyLse: ["-inf", "+inf"],
  lseBase: ["e", "2"],
  lseIncludesSink: [true, false],
  alibi: ["distance", "distance-raw", "relative", "bias"],
  softcap: ["before-alibi", "after-alibi"],
  openWindow: ["unlimited", "keys"],
  zeroScale: ["zero", "default"],
};

/**
 * What holds when no system is named: FlashAttention-2's rules with an lse that merges (−∞ for an empty row, never
 * shifted by ALiBi). Every preset says how it departs from this.
 */
export const defaults: Semantics = complete(switches, {});

const topLeft: Semantics = { ...defaults, align: "top-left" };

/** The systems by name. What a system does not have (a sink, an lse, dropout) stays as in the defaults. */
export const presets: Readonly<Record<SemanticsName, Semantics>> = {
  /**
   * flash-attention 2 (csrc/flash_attn). lse = +∞ makes exp(S − lse) = 0 in its backward pass; its causal kernel adds
   * slope·j; `window` gives an open side M keys.
   */
  flashAttention2: { ...defaults, emptyLse: "+inf", alibi: "distance-raw", openWindow: "keys" },
  /** flash-attention 3 and 4 (hopper, flash_attn/cute): a row without keys but with a sink has lse = sink. */
  flashAttention4: defaults,
  /** PyTorch 2.5 and later, torch.nn.functional.scaled_dot_product_attention. */
  sdpa: topLeft,
  /** ONNX Attention-23 with the erratum of ONNX 1.23: empty rows are 0. A past gives `align: {offset: past}`. */
  onnx23: topLeft,
  /** ONNX Attention-24: nonpad_kv_seqlen is `keyLengths`. */
  onnx24: { ...topLeft, align: "cache" },
  /** ONNX Attention-25: adds the window. */
  onnx25: { ...topLeft, align: "cache" },
  /** FlashInfer (attention/variants.cuh): scores are kept in units of ln 2, ALiBi goes into the softcap. */
  flashInfer: { ...defaults, lseBase: "2", alibi: "relative", softcap: "after-alibi" },
  /** llama.cpp, ggml_flash_attn_ext: slopes from `ggmlSlopes` multiply the mask, which is the bias here. */
  ggml: { ...defaults, alibi: "bias" },
  /**
   * onnxruntime's CPU provider: masks with the least finite number; scale 0 means default in its contrib operators;
   * versions before the fix drop `causal` for a single query.
   */
  ortCpu: { ...topLeft, singleQuery: "sees-all", emptyRow: "mean", zeroScale: "default" },
  /** jax-js, nn.dotProductAttention: softmax over nothing but −∞. */
  jaxJs: { ...topLeft, emptyRow: "nan" },
};
