/** One precision on one sample. */
import { type Recipe } from "../../src/precision.ts";
import { createProblem } from "../../src/problem.ts";
import { type Metrics, metrics } from "../../src/calibrate/metrics.ts";
import { attention } from "../../src/reference/index.ts";
import type { TensorInput } from "../../src/tensor.ts";
import { FLOAT64 } from "../../src/verify/arithmetic.ts";
import { forwardBounds } from "../../src/verify/bounds.ts";
import { quantised } from "../../src/verify/quantisation.ts";
import type { Sample } from "./data.ts";

export interface Measurement extends Metrics {
  /** Largest |error|/max|V|. */
  readonly relativeMax: number;
  /** Largest |error|/bound; only if asked for. */
  readonly ofBound?: number;
}

const exact = new Map<Sample, TensorInput>();

export function measure(sample: Sample, precision: Recipe, withBound = false): Measurement {
  const { q, k, v, options } = sample;
  const want = exact.get(sample) ?? attention(q, k, v, options).out;
  exact.set(sample, want);
  const got = attention(q, k, v, { ...options, precision }).out;
  const all = metrics(want, got);
  const largest = (v.data as Float32Array).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const measured = { ...all, relativeMax: all.maxAbs / largest };
  if (!withBound) return measured;
  const bounds = forwardBounds(createProblem(q, k, v, { ...options, precision }), quantised(FLOAT64)).out;
  let ofBound = 0;
  bounds.forEach((bound, at) => {
    const error = Math.abs((want.data as Float64Array)[at] - (got.data as Float64Array)[at]);
    ofBound = Math.max(ofBound, error / bound);
  });
  return { ...measured, ofBound };
}
