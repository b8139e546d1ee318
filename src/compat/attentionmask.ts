/** Hugging Face's attention_mask: [B,M], 1 for a token, 0 for padding. */
import type { AttentionOptions } from "../options.ts";
import { type TensorInput, toFloat64, view } from "../tensor.ts";

/**
 * The options that leave padding out. Sequences that are padded on the right become key lengths, which skip the
 * padding; anything else becomes a mask. Causal attention means the same with either.
 *
 * @param attentionMask [B,M] of 0 and 1, in any dtype.
 * @param queries N of the call, M unless given: the last query stands at key M − 1.
 * @returns `{ keyLengths, align }` or `{ mask }`, to spread into attention's options.
 * @throws {TypeError} No tensor.
 * @throws {RangeError} Other axes, or values other than 0 and 1.
 *
 * @example
 * ```ts
 * import { fromAttentionMask } from "flashtile/compat";
 * const right = { data: BigInt64Array.of(1n, 1n, 0n, 1n, 1n, 1n), shape: [2, 3] };
 * console.log(fromAttentionMask(right).keyLengths); // [ 2, 3 ]
 * const left = { data: BigInt64Array.of(0n, 1n, 1n, 1n, 1n, 1n), shape: [2, 3] };
 * console.log(fromAttentionMask(left).mask!.shape); // [ 2, 1, 1, 3 ]
 * ```
 */
export function fromAttentionMask(
  attentionMask: TensorInput,
  queries?: number,
): Pick<AttentionOptions, "keyLengths" | "align" | "mask"> {
  const source = view("attentionMask", attentionMask);
  if (source.shape.length !== 2) throw new RangeError(`attentionMask: expected [B,M], got [${source.shape}]`);
  const [B, M] = source.shape;
  const values = toFloat64(source);
  const bad = values.findIndex((x) => x !== 0 && x !== 1);
  if (bad >= 0) throw new RangeError(`attentionMask[${bad}]: expected 0 or 1, got ${values[bad]}`);

  const keyLengths = Array.from({ length: B }, (_, b) => {
    const row = values.subarray(b * M, b * M + M);
    const end = row.indexOf(0);
    const length = end < 0 ? M : end;
    return row.indexOf(1, length) < 0 ? length : -1;
  });
  if (keyLengths.includes(-1)) {
    return { mask: { data: Uint8Array.from(values), shape: [B, 1, 1, M], dtype: "bool" } };
  }
  // Key lengths would move the diagonal to the last token; a mask would not.
  return { keyLengths, align: { offset: M - (queries === undefined ? M : queries) } };
}
