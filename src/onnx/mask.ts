/**
 * attn_mask → the `mask` or `bias` of attention.
 *
 * Axes align at the right, so rank 3 is (heads, queries, keys). The last axis may be shorter than the keys and is then
 * filled with "no": false, or −∞. From opset 24 on that goes for a last axis of length 1 too; opset 23 knows only
 * broadcasting, and stretches it.
 */
import { fromFloat64, sizeOf, type TensorInput, toFloat64, type View } from "../tensor.ts";
import type { Node } from "./node.ts";

/** @param scores [B,H,N,M]. @param lengths Valid keys of each batch, which the mask must cover. */
export function mask(
  node: Node,
  scores: readonly [number, number, number, number],
  lengths: Int32Array | null,
): { mask?: TensorInput; bias?: TensorInput } {
  const source = node.inputs.get("attn_mask");
  if (!source) return {};
  if (source.dtype !== "bool" && !["float64", "float32", "float16", "bfloat16"].includes(source.dtype)) {
    throw new TypeError(`attn_mask: expected bool or a floating dtype, got ${source.dtype}`);
  }
  check(source, scores, lengths, node.opset);
  const M = scores[3];
  const keys = source.shape[source.shape.length - 1];
  const full = keys === M || (keys === 1 && node.opset < 24) ? source : filled(source, M);
  return source.dtype === "bool" ? { mask: full } : { bias: full };
}

function check(
  { shape }: View,
  scores: readonly [number, number, number, number],
  lengths: Int32Array | null,
  opset: number,
): void {
  const lead = scores.length - shape.length;
  const fits = lead >= 0 && lead < scores.length && shape.every((n, axis) => {
    const full = scores[lead + axis];
    return n === full || (lead + axis < 3 ? n === 1 : n <= full || (n === 1 && opset < 24));
  });
  if (!fits) {
    throw new RangeError(
      `attn_mask: expected a shape that broadcasts to [B,H,N,M] = [${scores}], got [${shape}]`,
    );
  }
  const keys = shape[shape.length - 1];
  const longest = lengths?.reduce((a, b) => Math.max(a, b), 0) ?? 0;
  if (keys < longest) {
    throw new RangeError(
      `attn_mask: expected at least ${longest} keys, as nonpad_kv_seqlen has, got [${shape}]`,
    );
  }
}

/** The last axis made M long with false or −∞. */
function filled(source: View, M: number): TensorInput {
  const { shape, dtype } = source;
  const keys = shape[shape.length - 1];
  const values = toFloat64(source);
  const wide = [...shape.slice(0, -1), M];
  const out = new Float64Array(sizeOf(wide)).fill(dtype === "bool" ? 0 : -Infinity);
  for (let row = 0; row < out.length / M; row++) {
    out.set(values.subarray(row * keys, (row + 1) * keys), row * M);
  }
  if (dtype === "bool") return { data: Uint8Array.from(out), shape: wide, dtype };
  return { data: fromFloat64(out, dtype), shape: wide, dtype };
}
