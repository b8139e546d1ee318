/**
 * How far one tensor is from another, as the papers on quantised attention measure it (SpargeAttn,
 * spas_sage_attn/utils.py, precision_metric), over all elements of the tensor at once:
 *
 *   cosine = ⟨o, ô⟩/(|o||ô|)     relative L1 = Σ|o − ô|/Σ|o|     RMSE = √(mean (o − ô)²)
 */
import { type TensorInput, toFloat64, view } from "../tensor.ts";

/** How far a result is from what was expected. */
export interface Metrics {
  /** 1 for two zero tensors, 0 if only one is zero. */
  readonly cosine: number;
  /** 0 for two zero tensors, ∞ if only `want` is zero. */
  readonly relativeL1: number;
  readonly rmse: number;
  /** Largest |o − ô|. */
  readonly maxAbs: number;
}

/**
 * How far `got` is from `want`, two tensors of one shape.
 *
 * @throws {RangeError} Two shapes.
 *
 * @example
 * ```ts
 * import { metrics } from "flashtile/calibrate";
 * const want = { data: new Float32Array([3, 4]), shape: [2] };
 * const got = { data: new Float32Array([3, 4.5]), shape: [2] };
 * console.log(metrics(want, got).maxAbs); // 0.5
 * ```
 */
export function metrics(want: TensorInput, got: TensorInput): Metrics {
  const [a, b] = [view("want", want), view("got", got)];
  if (a.shape.length !== b.shape.length || a.shape.some((n, axis) => n !== b.shape[axis])) {
    throw new RangeError(`got: expected [${a.shape}] like want, got [${b.shape}]`);
  }
  const [o, p] = [toFloat64(a), toFloat64(b)];
  let product = 0;
  let oo = 0;
  let pp = 0;
  let size = 0;
  let distance = 0;
  let square = 0;
  let maxAbs = 0;
  for (let x = 0; x < o.length; x++) {
    const difference = Math.abs(o[x] - p[x]);
    product += o[x] * p[x];
    oo += o[x] * o[x];
    pp += p[x] * p[x];
    size += Math.abs(o[x]);
    distance += difference;
    square += difference * difference;
    if (difference > maxAbs || difference !== difference) maxAbs = difference;
  }
  return {
    cosine: oo === 0 || pp === 0 ? (oo === pp ? 1 : 0) : product / Math.sqrt(oo) / Math.sqrt(pp),
    relativeL1: size === 0 && distance === 0 ? 0 : distance / size,
    rmse: o.length === 0 ? 0 : Math.sqrt(square / o.length),
    maxAbs,
  };
}
