/** linear: y[i,j] = Σ_k x[i,k]·w[j,k], W[outDim,inDim] as checkpoints store it. float64, summed as dot.ts says. */
import { dot } from "./dot.ts";

export function linear(
  x: Float64Array,
  w: Float64Array,
  { rows, inDim, outDim }: { rows: number; inDim: number; outDim: number },
): Float64Array {
  const y = new Float64Array(rows * outDim);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < outDim; j++) y[i * outDim + j] = dot(x, i * inDim, w, j * inDim, inDim);
  }
  return y;
}
