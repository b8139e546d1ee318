/** The inverse of case.ts: a case as a safetensors file that `readCase` gives back. */
import { writeSafetensors } from "../io/safetensors.ts";
import type { FileTensor } from "../io/tensor.ts";
import type { AttentionOptions, Vector } from "../options.ts";
import { isBlockMask } from "../problem.ts";
import { view } from "../tensor.ts";
import type { Semantics } from "../semantics.ts";
import { type Case, OUTPUTS } from "./case.ts";

/** A case to write; `note` and `tags` are for readers. */
export type CaseToWrite = Omit<Case, "name"> & { readonly note?: string; readonly tags?: readonly string[] };

/** @throws {TypeError} An input is no dense tensor. */
export function writeCase(content: CaseToWrite): Uint8Array {
  const { options } = content;
  const tensors = new Map<string, FileTensor>();
  const put = (name: string, tensor: FileTensor | Vector | null | undefined) => {
    if (tensor) tensors.set(name, dense(name, tensor));
  };
  put("q", content.q);
  put("k", content.k);
  put("v", content.v);
  put("mask", isBlockMask(options.mask) ? options.mask.toTensor() : options.mask);
  put("bias", options.bias);
  put("sink", options.sink);
  put("alibi_slopes", options.alibiSlopes);
  put("key_lengths", options.keyLengths);
  put("cu_seqlens_q", options.cuSeqlens?.q);
  put("cu_seqlens_k", options.cuSeqlens?.k);
  put("dout", content.dout);
  put("dlse", content.dlse);
  for (const output of OUTPUTS) put(output, content.expected.get(output));
  const attention = {
    ...metadataOf(options),
    ...(content.tags && { tags: content.tags }),
    ...(content.note && { note: content.note }),
  };
  return writeSafetensors({ metadata: { attention: JSON.stringify(attention, plain) }, tensors });
}

function metadataOf(options: AttentionOptions): Record<string, unknown> {
  const { layout, scale, causal, align, window, softcap, chunk, sinkTokens, dropout } = options;
  const semantics = options.semantics as Semantics | string | undefined;
  const { lseIncludesSink, ...switches } = typeof semantics === "object"
    ? semantics
    : { lseIncludesSink: true };
  return {
    layout: layout ?? "bhnd",
    ...(scale !== undefined && { scale }),
    causal: causal ?? false,
    ...(align !== undefined && { align }),
    ...(window && { window }),
    ...(softcap !== undefined && { softcap }),
    ...(chunk !== undefined && { chunk }),
    ...(sinkTokens !== undefined && { sink_tokens: sinkTokens }),
    ...(semantics !== undefined && { semantics: typeof semantics === "object" ? switches : semantics }),
    ...(dropout && { dropout }),
    lse_includes_sink: lseIncludesSink,
  };
}

/** What JSON cannot write, or writes as an object. */
function plain(_key: string, value: unknown): unknown {
  if (value === Infinity) return "inf";
  if (value === -Infinity) return "-inf";
  return ArrayBuffer.isView(value) ? Array.from(value as unknown as ArrayLike<number>) : value;
}

function dense(name: string, tensor: FileTensor | Vector): FileTensor {
  if (!("data" in tensor)) {
    const values = Float64Array.from(tensor as ArrayLike<number>);
    return { dtype: "float64", shape: [values.length], data: values };
  }
  if (("strides" in tensor && tensor.strides) || ("offset" in tensor && tensor.offset)) {
    throw new TypeError(`${name}: expected a dense tensor, got a view`);
  }
  const { data, dtype, shape } = view(name, tensor);
  return { data, dtype, shape: [...shape] };
}
