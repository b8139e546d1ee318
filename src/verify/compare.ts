/**
 * An expected tensor against a computed one, element by element, each with its own bound.
 *
 * An element is right if |got − expected| ≤ bound, where both are finite. ∞ and NaN must be met exactly: an expected
 * ∞ by the same ∞, NaN by NaN, and a bound that isn't finite allows nothing.
 */
import type { FileTensor } from "../io/tensor.ts";
import type { DType } from "../dtype.ts";
import { type Tensor, toFloat64, view } from "../tensor.ts";
import { STORED } from "./arithmetic.ts";

/** How one output compares; everything but maxAbs and maxUlp is about the worst element. */
export interface Comparison {
  /** Largest |got − expected|, and in units in the last place of the coarser format. */
  readonly maxAbs: number;
  readonly maxUlp: number;
  /** What the error there may be, and error/bound: more than 1 is wrong. */
  readonly bound: number;
  readonly ratio: number;
  /** Index of the element; empty for an empty tensor. */
  readonly at: readonly number[];
  readonly expected: number;
  readonly got: number;
  readonly ok: boolean;
}

/**
 * @param bounds What the computations may be apart, for each element; with `rounded`, the rounding with which the
 *   expectation was stored is in there.
 * @throws {RangeError} Another shape than expected.
 */
export function compare(
  name: string,
  expected: FileTensor,
  got: Tensor,
  bounds: Float64Array,
  rounded = false,
): Comparison {
  if (expected.shape.length !== got.shape.length || expected.shape.some((n, axis) => n !== got.shape[axis])) {
    throw new RangeError(`${name}: expected [${got.shape}] for these inputs, got [${expected.shape}]`);
  }
  const wanted = STORED[expected.dtype];
  if (!wanted) throw new TypeError(`${name}: expected a floating dtype, got ${expected.dtype}`);
  const stored = narrower(got.dtype) ? STORED[got.dtype] : undefined;
  const want = toFloat64(view(name, expected));
  const have = toFloat64(view(name, got));
  const unit = Math.max(wanted.u, STORED[got.dtype]!.u);
  const least = Math.max(wanted.eta, STORED[got.dtype]!.eta);
  let worst = { ratio: -1, index: 0, bound: 0 };
  let maxAbs = 0;
  let maxUlp = 0;
  for (let index = 0; index < want.length; index++) {
    const e = want[index];
    const g = have[index];
    // Storing the expectation rounded it; so did storing the result, if in less than it was computed in.
    let bound = bounds[index] + (rounded ? 0 : wanted.u * Math.abs(e) + wanted.eta);
    if (stored) bound += stored.u * (Math.abs(e) + bound) + stored.eta;
    const { error, ratio } = judge(e, g, bound);
    if (error > maxAbs) maxAbs = error;
    if (error > 0) maxUlp = Math.max(maxUlp, error / ulp(e, unit, least));
    if (ratio > worst.ratio) worst = { ratio, index, bound };
  }
  const empty = want.length === 0;
  return {
    maxAbs,
    maxUlp,
    bound: worst.bound,
    ratio: Math.max(worst.ratio, 0),
    at: empty ? [] : indexOf(worst.index, expected.shape),
    expected: empty ? 0 : want[worst.index],
    got: empty ? 0 : have[worst.index],
    ok: worst.ratio <= 1,
  };
}

function judge(e: number, g: number, bound: number): { error: number; ratio: number } {
  if (e === g || (e !== e && g !== g)) return { error: 0, ratio: 0 };
  const error = Math.abs(g - e);
  if (!(error < Infinity && bound < Infinity)) return { error: Infinity, ratio: Infinity };
  return { error, ratio: error / bound };
}

/** Results are computed in float32 or float64; anything else was rounded once more. */
function narrower(dtype: DType): boolean {
  return dtype !== "float32" && dtype !== "float64";
}

/** Distance of the numbers next to x in the format with roundoff u and half least subnormal η. */
function ulp(x: number, u: number, eta: number): number {
  const a = Math.abs(x);
  if (!(a < Infinity)) return Infinity;
  let unit = 2 * u * 2 ** Math.floor(Math.log2(a));
  if (unit > 2 * u * a) unit /= 2;
  return Math.max(unit || 0, 2 * eta);
}

/** Element `index` of a row-major tensor. */
export function indexOf(index: number, shape: readonly number[]): number[] {
  const at: number[] = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    at.unshift(index % shape[axis]);
    index = Math.floor(index / shape[axis]);
  }
  return at;
}
