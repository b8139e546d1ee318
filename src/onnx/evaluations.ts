/**
 * The arithmetics in which an operator may be evaluated, as interval arithmetic sees them: what becomes of a number
 * that is known to lie in [lo, hi].
 *
 * The exact answer is what flashtile computes. An expectation in a case file was computed by somebody else, and the
 * specification leaves open how. Two ways are in use, and both are enclosed step by step rather than by a constant:
 *
 *   wide    float32 at least (float64 for float64 inputs), rounded once to the dtype of the output: ONNX's reference
 *           up to 1.22, whose float64 scale promotes everything, and every runtime that accumulates in float32
 *   narrow  each operation of the function body rounded to the 16-bit dtype of its inputs: ONNX 1.23's reference
 */
import { decodeBFloat16, decodeFloat16, type DType, encodeBFloat16, encodeFloat16 } from "../dtype.ts";

/** Bounds of what rounding makes of x. */
export interface Rounding {
  down(x: number): number;
  up(x: number): number;
}

export interface Arithmetic {
  /** What happens to the result of an operation. */
  readonly result: Rounding;
  /** Unit roundoff of an operation before that, and of each step of a sum. */
  readonly u: number;
  /** Relative error of exp, tanh, log before that … */
  readonly fn: number;
  /** … and the least exp(x) for which it holds; what is below may be anything from 0 to it. */
  readonly least: number;
  /** Relative error of exp's argument, beyond the rounding of x − m. */
  readonly argument?: number;
  /** Do operations end in a 16-bit dtype? Then a sum may be rounded after each term or once. */
  readonly narrow: boolean;
}

/** One evaluation of attention: scores, their cast to softmax_precision, softmax, the casts of P and V, P·V. */
export interface Evaluation {
  readonly scores: Arithmetic;
  readonly cast: Rounding;
  readonly softmax: Arithmetic;
  readonly weights: Rounding;
  readonly values: Rounding;
  readonly output: Arithmetic;
  /** The arithmetic of a node of score_mod or prob_mod with this dtype. */
  nodes(dtype: DType): Arithmetic;
}

/** Unit roundoff, half the least subnormal. */
const UNITS: Readonly<Partial<Record<DType, { u: number; eta: number }>>> = {
  float64: { u: 2 ** -53, eta: 2 ** -1074 },
  float32: { u: 2 ** -24, eta: 2 ** -150 },
  float16: { u: 2 ** -11, eta: 2 ** -25 },
  bfloat16: { u: 2 ** -8, eta: 2 ** -134 },
};

/** What our own evaluation, in float64, adds to each roundoff. */
const OWN = 2 ** -52;

const same = (x: number) => x;
export const UNROUNDED: Rounding = { down: same, up: same };

export const EXACT: Arithmetic = { result: UNROUNDED, u: 0, fn: 0, least: 0, narrow: false };

/** x as the dtype holds it, to nearest even. */
export function nearest(dtype: DType): (x: number) => number {
  switch (dtype) {
    case "float32":
      return Math.fround;
    case "float16":
      return (x) => decodeFloat16(encodeFloat16(x));
    case "bfloat16":
      return (x) => decodeBFloat16(encodeBFloat16(x));
    default:
      return (x) => x;
  }
}

/** Rounded to the dtype, once: monotone, so the ends of an interval are enough. */
export function to(dtype: DType): Rounding {
  const round = nearest(dtype);
  return { down: round, up: round };
}

/** Rounded at most once to a dtype of at least this precision. */
function within(dtype: DType): Rounding {
  const { u, eta } = UNITS[dtype]!;
  return { down: (x) => below(x, u + OWN, eta), up: (x) => above(x, u + OWN, eta) };
}

/** x − (u|x| + eta), but an infinity stays. */
export function below(x: number, u: number, eta = 0): number {
  return Math.abs(x) === Infinity ? x : x - (u * Math.abs(x) + eta);
}

/** x + (u|x| + eta), but an infinity stays. */
export function above(x: number, u: number, eta = 0): number {
  return Math.abs(x) === Infinity ? x : x + (u * Math.abs(x) + eta);
}

/**
 * Arithmetic in float32, float64 or anything better. exp, tanh and log: NumPy tests its own to 4 ulp, that is 8u
 * (numpy/_core/tests/data/umath-validation-set-*), and may flush a subnormal exp.
 */
function wide(dtype: "float32" | "float64"): Arithmetic {
  const u = UNITS[dtype]!.u + OWN;
  const least = dtype === "float32" ? 2 ** -126 : 2 ** -1022;
  return { result: within(dtype), u, fn: 8 * u, least, narrow: false };
}

/** Operations that compute in float32 and end in a 16-bit dtype, as NumPy's do. */
function narrow(dtype: DType): Arithmetic {
  return { ...wide("float32"), result: to(dtype), narrow: true };
}

const WIDE32 = wide("float32");
const WIDE64 = wide("float64");

/** The exact arithmetic that rounds each result to a 16-bit dtype, or isn't rounded at all. */
function emulated(dtype: DType): Arithmetic {
  return isHalf(dtype) ? { ...EXACT, result: to(dtype), narrow: true } : EXACT;
}

/**
 * flashtile's kernels: float32 in the order of the function body, exp as 2^((x − m)·log2 e), the constant and the product
 * rounded too.
 */
export const KERNELS: Arithmetic = { ...WIDE32, argument: 2 * WIDE32.u };

/** An evaluation by the kernels, which round nothing to 16 bits. */
export const BY_KERNELS: Evaluation = {
  scores: KERNELS,
  cast: UNROUNDED,
  softmax: KERNELS,
  weights: UNROUNDED,
  values: UNROUNDED,
  output: KERNELS,
  nodes: () => KERNELS,
};

/** Arithmetic of a dtype as others may compute it. */
export function ordinary(dtype: DType): Arithmetic {
  if (isHalf(dtype)) return narrow(dtype);
  return dtype === "float32" ? WIDE32 : dtype === "float64" ? WIDE64 : EXACT;
}

export function isHalf(dtype: DType): boolean {
  return dtype === "float16" || dtype === "bfloat16";
}

/** Does a cast of the scores to `precision` lose digits that the answer in `dtype` would show? */
export function losesDigits(precision: DType | null, dtype: DType): boolean {
  return precision !== null && (isHalf(precision) || (precision === "float32" && dtype === "float64"));
}

/** Where P·V is done: Attention casts P back to the dtype of Q, FlexAttention casts V to softmax_precision. */
export type ProductIn = "dtype" | "precision";

/**
 * What flashtile computes: exact, but for a softmax_precision whose loss of digits is what was asked for. There each
 * step of the softmax is rounded to it.
 */
export function exactly(precision: DType | null, dtype: DType, product: ProductIn): Evaluation {
  const scores = { scores: EXACT, nodes: emulated };
  if (precision === null || !losesDigits(precision, dtype)) {
    return {
      ...scores,
      cast: UNROUNDED,
      softmax: EXACT,
      weights: UNROUNDED,
      values: UNROUNDED,
      output: EXACT,
    };
  }
  const cast = to(precision);
  const softmax = { ...EXACT, result: cast, narrow: isHalf(precision) };
  const rest = product === "precision"
    ? { values: cast, output: softmax }
    : { values: UNROUNDED, output: EXACT };
  return { ...scores, cast, softmax, weights: UNROUNDED, ...rest };
}

/** How others evaluate a node with inputs of `dtype`. */
export function others(precision: DType | null, dtype: DType, product: ProductIn): Evaluation[] {
  const evaluation = (scores: Arithmetic): Evaluation => {
    const { cast, softmax } = inPrecision(precision, scores);
    const common = { scores, cast, softmax, nodes: ordinary };
    if (product === "dtype") {
      return {
        ...common,
        weights: scores.narrow ? scores.result : UNROUNDED,
        values: UNROUNDED,
        output: scores,
      };
    }
    const values = precision !== null && losesDigits(precision, dtype) ? to(precision) : UNROUNDED;
    return { ...common, weights: UNROUNDED, values, output: softmax };
  };
  const wides = evaluation(dtype === "float64" ? WIDE64 : WIDE32);
  return isHalf(dtype) ? [wides, evaluation(narrow(dtype))] : [wides];
}

/** The softmax in its precision, where one is given; no wider than float32 can be told from the rest. */
function inPrecision(precision: DType | null, scores: Arithmetic): Pick<Evaluation, "cast" | "softmax"> {
  if (precision === null) return { cast: UNROUNDED, softmax: scores };
  if (isHalf(precision)) return { cast: to(precision), softmax: narrow(precision) };
  return scores === WIDE64 && precision === "float32"
    ? { cast: WIDE32.result, softmax: WIDE32 }
    : { cast: UNROUNDED, softmax: scores === WIDE64 ? WIDE64 : WIDE32 };
}

/** Σ of n rounded products of which each addition errs by u: relative to Σ|terms|. */
export function gamma(n: number, u: number): number {
  return n * u / (1 - n * u);
}
