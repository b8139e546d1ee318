/** The back end of the oracle: float64 from the weights to the logits, no WebAssembly. */
import { attention } from "../reference/attention.ts";
import { linear } from "../reference/linear.ts";
import { rmsnorm } from "../reference/rmsnorm.ts";
import { rotary } from "../reference/rotary.ts";
import { silu } from "../reference/silu.ts";
import { attentionTiled } from "../reference/tiled.ts";
import { elementReader, rowMajor } from "../tensor.ts";
import type { FileTensor } from "../io/tensor.ts";
import type { Implementation } from "./implementation.ts";

const TILE = { Br: 64, Bc: 64 };

export function referenceImplementation(): Implementation<Float64Array> {
  const kernels = new Set<string>();
  return {
    name: "reference",
    kernels,
    elementBytes: 8,
    allocate: (length) => new Float64Array(length),
    scratch: (work) => work(),
    part: (x, index) => x.subarray(index),
    read: (x, length) => x.slice(0, length),
    vector: toFloat64,
    linearWeights: ({ weight, bias }) => ({
      weight: toFloat64(weight),
      bias: bias && toFloat64(bias),
      out: weight.shape[0],
      depth: weight.shape[1],
    }),
    angles: ({ cos, sin }) => ({ cos, sin }),
    embed(table, tokens, width, x) {
      tokens.forEach((token, i) => x.set(table.subarray(token * width, (token + 1) * width), i * width));
    },
    rmsNorm(x, gain, rows, dim, eps, y) {
      kernels.add("rmsnorm");
      y.set(rmsnorm(x, gain, { rows, dim, eps }));
    },
    linear(x, { weight, bias, out, depth }, rows, y) {
      kernels.add("linear");
      y.set(linear(x, weight, { rows, inDim: depth, outDim: out }));
      if (bias === null) return;
      for (let i = 0; i < rows * out; i++) y[i] += bias[i % out];
    },
    rotate(x, { cos, sin }, rows, heads, width, first) {
      kernels.add("rotary");
      const positions = Int32Array.from({ length: rows }, (_, i) => first + i);
      const turned = x.subarray(0, rows * heads * width);
      turned.set(rotary(turned, { cos, sin, positions, heads, width }));
    },
    attention,
    attend(q, k, v, { N, M, H, G, D, recipe }, out) {
      const rows = (data: Float64Array, n: number, heads: number) => ({
        data: data.subarray(0, n * heads * D),
        shape: [1, n, heads, D],
      });
      const options = { layout: "bnhd", causal: true, align: "bottom-right" } as const;
      const inputs = [rows(q, N, H), rows(k, M, G), rows(v, M, G)] as const;
      if (recipe !== null) {
        kernels.add("quantisedAttention");
        out.set(attention(...inputs, { ...options, precision: recipe }).out.data as Float64Array);
        return;
      }
      // As in WebAssembly, a prompt goes through tiles and a single token does not: each checks the other.
      kernels.add(N === 1 ? "attention" : "attentionTiled");
      const result = N === 1 ? attention(...inputs, options) : attentionTiled(...inputs, options, TILE);
      out.set(result.out.data as Float64Array);
    },
    add(x, y, count) {
      for (let i = 0; i < count; i++) x[i] += y[i];
    },
    gate(gate, up, count) {
      kernels.add("silu");
      gate.set(silu(gate.subarray(0, count), up.subarray(0, count)));
    },
  };
}

function toFloat64({ data, dtype, shape }: FileTensor): Float64Array {
  const read = elementReader({ data, dtype, shape, strides: rowMajor(shape), offset: 0 });
  return Float64Array.from({ length: data.length }, (_, i) => read(i));
}
