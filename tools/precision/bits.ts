/** Bits per byte of the shipped model on its held-out text, every attention in one precision. */
import type { Precision } from "../../src/precision.ts";
import { LanguageModel } from "../../src/model/languagemodel.ts";
import { referenceImplementation } from "../../src/model/reference.ts";
import { bitsPerByte } from "../../src/model/score.ts";
import { attention } from "../../src/reference/index.ts";
import { config, heldOut, weights } from "./data.ts";

/** The first `tokens` bytes, read at once. */
export function bitsPerByteOf(precision: Precision, tokens: number): number {
  const ops = referenceImplementation();
  const model = LanguageModel.load({ config, weights }, {
    ...ops,
    attend(q, k, v, { N, M, H, G, D }, out) {
      const rows = (data: Float64Array, n: number, heads: number) => ({
        data: Float32Array.from(data.subarray(0, n * heads * D)),
        shape: [1, n, heads, D],
      });
      const options = { layout: "bnhd", causal: true, precision } as const;
      out.set(attention(rows(q, N, H), rows(k, M, G), rows(v, M, G), options).out.data as Float64Array);
    },
  });
  const logits = model.prefill(heldOut.subarray(0, tokens), "all");
  model.close();
  return bitsPerByte(logits, heldOut.subarray(1, tokens + 1));
}
