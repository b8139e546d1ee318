/**
 * The elementwise operators of score_mod and prob_mod, on enclosures.
 *
 * Results of floating operators are rounded as the arithmetic of their dtype says; integers and booleans are exact.
 * Numpy's broadcasting; all inputs of one dtype, as ONNX demands.
 */
import type { DType } from "../dtype.ts";
import { cos, exp, log, sigmoid, sin, tanh } from "../reference/math.ts";
import { above, type Arithmetic, below, EXACT } from "./evaluations.ts";
import {
  checkSize,
  dtypeOf,
  type GraphContext,
  type GraphOperator,
  isFloat,
  onlyAttributes,
  type Ranged,
  required,
  stepsOf,
} from "./ranged.ts";
import {
  absolute,
  corners,
  division,
  equal,
  image,
  monotone,
  pointwise,
  power,
  rising,
  roundEven,
  type Rule,
  wave,
  where,
} from "./rules.ts";
import { emptyRange, isExact } from "./steps.ts";

type Kind = "numeric" | "float" | "bool" | "any";
/** How far a computed result may be off: not at all, by a rounding, or by the error of a library function. */
type Error = "none" | "rounding" | "function";

interface Spec {
  readonly arity: readonly [number, number];
  readonly kind: Kind;
  readonly error: Error;
  readonly rule: Rule;
  /** Result is boolean. */
  readonly test?: true;
}

const bit = (value: boolean) => value ? 1 : 0;

const SPECS: Readonly<Record<string, Spec>> = {
  Add: { arity: [2, 2], kind: "numeric", error: "rounding", rule: monotone([1, 1], ([a, b]) => a + b) },
  Sub: { arity: [2, 2], kind: "numeric", error: "rounding", rule: monotone([1, -1], ([a, b]) => a - b) },
  Mul: { arity: [2, 2], kind: "numeric", error: "rounding", rule: corners((a, b) => a * b) },
  Div: { arity: [2, 2], kind: "numeric", error: "rounding", rule: division },
  Pow: { arity: [2, 2], kind: "numeric", error: "function", rule: power },
  Sum: {
    arity: [1, 64],
    kind: "float",
    error: "rounding",
    rule: monotone([1], (x) => x.reduce((a, b) => a + b)),
  },
  Min: { arity: [1, 64], kind: "numeric", error: "none", rule: monotone([1], (x) => Math.min(...x)) },
  Max: { arity: [1, 64], kind: "numeric", error: "none", rule: monotone([1], (x) => Math.max(...x)) },
  Neg: { arity: [1, 1], kind: "numeric", error: "none", rule: monotone([-1], ([x]) => -x) },
  Abs: { arity: [1, 1], kind: "numeric", error: "none", rule: absolute },
  Sign: { arity: [1, 1], kind: "numeric", error: "none", rule: rising(Math.sign) },
  Relu: { arity: [1, 1], kind: "numeric", error: "none", rule: rising((x) => Math.max(0, x)) },
  Floor: { arity: [1, 1], kind: "float", error: "none", rule: rising(Math.floor) },
  Ceil: { arity: [1, 1], kind: "float", error: "none", rule: rising(Math.ceil) },
  Round: { arity: [1, 1], kind: "float", error: "none", rule: rising(roundEven) },
  Exp: { arity: [1, 1], kind: "float", error: "function", rule: rising(exp) },
  Log: { arity: [1, 1], kind: "float", error: "function", rule: rising(log) },
  Tanh: { arity: [1, 1], kind: "float", error: "function", rule: rising(tanh) },
  Sigmoid: { arity: [1, 1], kind: "float", error: "function", rule: rising(sigmoid) },
  Sqrt: { arity: [1, 1], kind: "float", error: "rounding", rule: rising(Math.sqrt) },
  Reciprocal: {
    arity: [1, 1],
    kind: "float",
    error: "rounding",
    rule: (lo, hi, integer) => division([1, lo[0]], [1, hi[0]], integer),
  },
  Sin: { arity: [1, 1], kind: "float", error: "function", rule: wave(sin) },
  Cos: { arity: [1, 1], kind: "float", error: "function", rule: wave(cos) },
  Less: {
    arity: [2, 2],
    kind: "numeric",
    error: "none",
    test: true,
    rule: monotone([-1, 1], ([a, b]) => bit(a < b)),
  },
  LessOrEqual: {
    arity: [2, 2],
    kind: "numeric",
    error: "none",
    test: true,
    rule: monotone([-1, 1], ([a, b]) => bit(a <= b)),
  },
  Greater: {
    arity: [2, 2],
    kind: "numeric",
    error: "none",
    test: true,
    rule: monotone([1, -1], ([a, b]) => bit(a > b)),
  },
  GreaterOrEqual: {
    arity: [2, 2],
    kind: "numeric",
    error: "none",
    test: true,
    rule: monotone([1, -1], ([a, b]) => bit(a >= b)),
  },
  Equal: { arity: [2, 2], kind: "any", error: "none", test: true, rule: equal },
  And: { arity: [2, 2], kind: "bool", error: "none", rule: monotone([1, 1], ([a, b]) => Math.min(a, b)) },
  Or: { arity: [2, 2], kind: "bool", error: "none", rule: monotone([1, 1], ([a, b]) => Math.max(a, b)) },
  Xor: { arity: [2, 2], kind: "bool", error: "none", rule: pointwise(([a, b]) => bit(a !== b), 0, 1) },
  Not: { arity: [1, 1], kind: "bool", error: "none", rule: monotone([-1], ([x]) => 1 - x) },
  IsNaN: {
    arity: [1, 1],
    kind: "float",
    error: "none",
    test: true,
    rule: pointwise(([x]) => bit(x !== x), 0, 0),
  },
};

/** Operators by their ONNX names. */
export const elementwise: Readonly<Record<string, GraphOperator>> = {
  ...Object.fromEntries(
    Object.entries(SPECS).map(([name, spec]): [string, GraphOperator] => [name, (inputs, context) => {
      onlyAttributes(context, []);
      return apply(spec, required(inputs, spec.arity, context), context);
    }]),
  ),
  Where(inputs, context) {
    onlyAttributes(context, []);
    const [condition, a, b] = required(inputs, [3, 3], context);
    if (condition.dtype !== "bool") {
      throw new TypeError(`${context.at}: expected a bool condition, got ${condition.dtype}`);
    }
    sameDType([a, b], context);
    return map([condition, a, b], a.dtype, EXACT, "none", where, context);
  },
  Clip(inputs, context) {
    onlyAttributes(context, []);
    let [x] = required(inputs.slice(0, 1), [1, 1], context);
    const [, least, most] = inputs;
    const steps: [Ranged | undefined, Spec][] = [[least, SPECS["Max"]], [most, SPECS["Min"]]];
    for (const [limit, spec] of steps) if (limit) x = apply(spec, [x, limit], context);
    return x;
  },
  Mod(inputs, context) {
    onlyAttributes(context, ["fmod"]);
    const pair = required(inputs, [2, 2], context);
    const truncated = context.attrs["fmod"] === 1;
    if (isFloat(pair[0].dtype) && !truncated) {
      throw new RangeError(`${context.at}: expected fmod 1 for floats`);
    }
    const rule = pointwise(([a, b]) => truncated || a % b === 0 || (a < 0) === (b < 0) ? a % b : a % b + b);
    return apply({ arity: [2, 2], kind: "numeric", error: "none", rule }, pair, context);
  },
  Cast(inputs, context) {
    onlyAttributes(context, ["to", "saturate"]);
    const [x] = required(inputs, [1, 1], context);
    return cast(x, dtypeOf(context, "to"), context);
  },
  CastLike(inputs, context) {
    onlyAttributes(context, ["saturate"]);
    const [x, like] = required(inputs, [2, 2], context);
    return cast(x, like.dtype, context);
  },
  Identity(inputs, context) {
    onlyAttributes(context, []);
    return required(inputs, [1, 1], context)[0];
  },
};

function sameDType(inputs: readonly Ranged[], { at }: GraphContext): void {
  const other = inputs.find((x) => x.dtype !== inputs[0].dtype);
  if (other) {
    throw new TypeError(`${at}: expected inputs of one dtype, got ${inputs[0].dtype} and ${other.dtype}`);
  }
}

function apply(spec: Spec, inputs: readonly Ranged[], context: GraphContext): Ranged {
  sameDType(inputs, context);
  const { dtype } = inputs[0];
  const fits =
    { any: true, bool: dtype === "bool", float: isFloat(dtype), numeric: dtype !== "bool" }[spec.kind];
  if (!fits) throw new TypeError(`${context.at}: expected ${spec.kind} inputs, got ${dtype}`);
  const result = spec.test ? "bool" : dtype;
  return map(inputs, result, context.arithmetic(result), spec.error, spec.rule, context);
}

function cast(x: Ranged, dtype: DType, context: GraphContext): Ranged {
  const rule = dtype === "bool"
    ? pointwise(([value]) => bit(value !== 0), 0, 1)
    : isFloat(dtype)
    ? rising((value) => value)
    : rising(Math.trunc);
  // A dtype at least as wide takes every value as it is.
  const widens = isFloat(x.dtype) && dtype === "float64" ||
    x.dtype !== "float64" && dtype === "float32" && isFloat(x.dtype);
  return map(
    [x],
    dtype,
    widens ? EXACT : context.arithmetic(dtype),
    widens ? "none" : "rounding",
    rule,
    context,
  );
}

/** Applies a rule to every element of the broadcast inputs. */
function map(
  inputs: readonly Ranged[],
  dtype: DType,
  arithmetic: Arithmetic,
  error: Error,
  rule: Rule,
  context: GraphContext,
): Ranged {
  const shape = broadcastShape(inputs, context);
  const exact = inputs.every((x) => x.lo === x.hi) && (error === "none" || isExact(arithmetic));
  const out = emptyRange(shape, exact);
  const steps = inputs.map((x) => stepsOf(x.shape, shape));
  const at = inputs.map(() => 0);
  const counter = new Array<number>(shape.length).fill(0);
  const integer = !isFloat(inputs[0].dtype);
  const lo = inputs.map(() => 0);
  const hi = inputs.map(() => 0);
  const slack = error === "none"
    ? 0
    : error === "function"
    ? arithmetic.fn
    : arithmetic.narrow
    ? arithmetic.u
    : 0;
  for (let e = 0; e < out.lo.length; e++) {
    inputs.forEach((x, n) => {
      lo[n] = x.lo[at[n]];
      hi[n] = x.hi[at[n]];
    });
    rule(lo, hi, integer);
    if (error !== "none") {
      image[0] = arithmetic.result.down(slack === 0 ? image[0] : below(image[0], slack));
      image[1] = arithmetic.result.up(slack === 0 ? image[1] : above(image[1], slack));
    }
    out.lo[e] = image[0];
    out.hi[e] = image[1];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      for (let n = 0; n < at.length; n++) at[n] += steps[n][axis];
      if (++counter[axis] < shape[axis]) break;
      for (let n = 0; n < at.length; n++) at[n] -= steps[n][axis] * shape[axis];
      counter[axis] = 0;
    }
  }
  return { dtype, ...out };
}

function broadcastShape(inputs: readonly Ranged[], { at, most }: GraphContext): number[] {
  const rank = Math.max(...inputs.map((x) => x.shape.length));
  const shape = new Array<number>(rank).fill(1);
  for (const { shape: own } of inputs) {
    own.forEach((n, axis) => {
      const place = rank - own.length + axis;
      if (n === 1) return;
      if (shape[place] !== 1 && shape[place] !== n) {
        throw new RangeError(
          `${at}: expected shapes that broadcast, got ${inputs.map((x) => `[${x.shape}]`).join(" ")}`,
        );
      }
      shape[place] = n;
    });
  }
  checkSize(shape, at, most);
  return shape;
}
