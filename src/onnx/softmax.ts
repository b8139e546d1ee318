/**
 * ONNX Softmax and LogSoftmax along an axis: y = e^(x − m)/Σe^(x − m), log y = x − m − ln Σe^(x − m), m = max x.
 *
 * Source: onnx/defs/math/defs.cc. From opset 13 on one axis, the last unless told; before that (opsets 1 and 11) all
 * axes from `axis` on, 1 unless told, together. A slice whose elements are all −∞ is NaN. 5 flops an element.
 */
import { log } from "../reference/math.ts";
import { type FloatTensor, sizeOf, type TensorInput, toFloat64, view } from "../tensor.ts";
import { above, type Arithmetic, below, exactly, KERNELS, others, to } from "./evaluations.ts";
import {
  createNode,
  floating,
  type Inputs,
  type Node,
  type NodeOptions,
  number,
  type Operator,
  type Range,
  stored,
} from "./node.ts";
import { emptyRange, mapRange, type Row, softmaxRow } from "./steps.ts";

/** Fills one row of y from x. */
type Form = (x: Range, y: Range, row: Row, arithmetic: Arithmetic) => void;

/** @param forms Ways to compute it; the first is ours. */
function operator(name: string, forms: readonly Form[]): Operator {
  return {
    name,
    domain: "",
    since: 1,
    newest: 13,
    inputs: ["input"],
    required: 1,
    outputs: ["output"],
    attributes: { axis: "int" },
    evaluate(node) {
      const { shape, dtype } = floating(node, "input");
      const { softmax } = exactly(null, dtype, "dtype");
      const common = { shape, dtype, problem: null };
      const kernel = node.implementation.softmax;
      if (!kernel || dtype === "float64") {
        return { output: { values: along(node, forms[0], softmax).lo, ...common, by: "operator" } };
      }
      const y = kernel(...kernelCall(node, forms.length > 1));
      return {
        output: {
          values: toFloat64(view("output", y)),
          ...{ ...common, by: "implementation" },
          own: () => along(node, forms[0], KERNELS),
        },
      };
    },
    enclose(node) {
      const { dtype } = floating(node, "input");
      const { down, up } = to(dtype);
      return forms.flatMap((form) =>
        others(null, dtype, "dtype")
          .map(({ softmax }) => ({ output: mapRange(along(node, form, softmax), down, up) }))
      );
    },
  };
}

const probabilities: Form = (x, y, row, arithmetic) => {
  softmaxRow(x, y, row, arithmetic);
  const { start, step, count } = row;
  if (top(x, row) >= 0) return;
  for (let n = 0, at = start; n < count; n++, at += step) y.lo[at] = y.hi[at] = NaN;
};

/** x − m − ln Σ, with ln Σ = −ln P of the largest element, whose e^(x − m) is 1. */
const difference: Form = (x, y, row, arithmetic) => {
  softmaxRow(x, y, row, arithmetic);
  const { start, step, count } = row;
  const { result, fn } = arithmetic;
  const at0 = top(x, row);
  const m = at0 < 0 ? NaN : x.lo[at0];
  const low = result.down(below(-log(y.hi[at0]), fn));
  const high = result.up(above(-log(y.lo[at0]), fn));
  for (let n = 0, at = start; n < count; n++, at += step) {
    const d = x.lo[at] - m;
    y.lo[at] = result.down(result.down(d) - high);
    y.hi[at] = result.up(result.up(d) - low);
  }
};

/** ln P: what ONNX's own reference does, −∞ where P underflows. */
const logarithm: Form = (x, y, row, arithmetic) => {
  probabilities(x, y, row, arithmetic);
  const { start, step, count } = row;
  const { result, fn } = arithmetic;
  for (let n = 0, at = start; n < count; n++, at += step) {
    y.lo[at] = result.down(below(log(y.lo[at]), fn));
    y.hi[at] = result.up(above(log(y.hi[at]), fn));
  }
};

export const SOFTMAX: Operator = operator("Softmax", [probabilities]);

export const LOG_SOFTMAX: Operator = operator("LogSoftmax", [difference, logarithm]);

/**
 * ONNX's Softmax operator.
 *
 * @param inputs `input`: any shape, floating.
 * @param attributes `axis`: −1 unless told (opset < 13: 1, and all axes behind it).
 * @returns `output`: like the input.
 * @throws {TypeError} A wrong kind of thing; the message starts with its name.
 * @throws {RangeError} An axis that isn't there.
 *
 * @example
 * ```ts
 * import { softmax } from "flashtile/onnx";
 * const { output } = softmax({ input: { data: new Float32Array([7, 7]), shape: [1, 2] } });
 * console.log(Array.from(output.data)); // [ 0.5, 0.5 ]
 * ```
 */
export function softmax(
  inputs: { readonly input: TensorInput },
  attributes: { readonly axis?: number } = {},
  options: NodeOptions = {},
): { output: FloatTensor } {
  const node = createNode(SOFTMAX, inputs as unknown as Inputs, { ...attributes }, options);
  return stored(SOFTMAX.evaluate(node)) as { output: FloatTensor };
}

/**
 * ONNX's LogSoftmax operator.
 *
 * @param inputs `input`: any shape, floating.
 * @param attributes `axis`: −1 unless told (opset < 13: 1, and all axes behind it).
 * @returns `output`: like the input.
 * @throws {TypeError} A wrong kind of thing; the message starts with its name.
 * @throws {RangeError} An axis that isn't there.
 *
 * @example
 * ```ts
 * import { logSoftmax } from "flashtile/onnx";
 * const { output } = logSoftmax({ input: { data: new Float32Array([0, 0]), shape: [2] } }, { axis: 0 });
 * console.log(output.data[0] === Math.fround(-Math.LN2)); // true
 * ```
 */
export function logSoftmax(
  inputs: { readonly input: TensorInput },
  attributes: { readonly axis?: number } = {},
  options: NodeOptions = {},
): { output: FloatTensor } {
  const node = createNode(LOG_SOFTMAX, inputs as unknown as Inputs, { ...attributes }, options);
  return stored(LOG_SOFTMAX.evaluate(node)) as { output: FloatTensor };
}

/** Slices of `count` elements `inner` apart, and how many of `inner` there are. */
function slicesOf(node: Node): { outer: number; count: number; inner: number } {
  const { shape } = floating(node, "input");
  const rank = shape.length;
  const together = node.opset < 13;
  const axis = number(node, "axis", together ? 1 : -1);
  const last = together ? rank : rank - 1;
  if (axis < -rank || axis > last) {
    throw new RangeError(`axis: expected an integer from ${-rank} to ${last}, got ${axis}`);
  }
  const first = axis < 0 ? axis + rank : axis;
  const inner = together ? 1 : sizeOf(shape.slice(first + 1));
  const count = sizeOf(shape.slice(first)) / inner;
  return { outer: count === 0 ? 0 : sizeOf(shape) / (count * inner), count, inner };
}

/** The node as a call of softmax, its tensor as [outer, count, inner]. */
function kernelCall(
  node: Node,
  log: boolean,
): [x: TensorInput, options: { axis: number; log: boolean }] {
  const { outer, count, inner } = slicesOf(node);
  const data = Float32Array.from(toFloat64(floating(node, "input")));
  return [{ data, shape: [outer, count, inner] }, { axis: 1, log }];
}

function along(node: Node, form: Form, arithmetic: Arithmetic): Range {
  const source = floating(node, "input");
  const { shape } = source;
  const { outer, count, inner } = slicesOf(node);
  const values = toFloat64(source);
  const x = { shape, lo: values, hi: values };
  const y = emptyRange(shape, arithmetic.u === 0);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      form(x, y, { start: o * count * inner + i, step: inner, count }, arithmetic);
    }
  }
  return y;
}

/** Where the largest element of a row is; −1 if there is none above −∞. */
function top({ lo }: Range, { start, step, count }: Row): number {
  let best = -1;
  for (let n = 0, at = start; n < count; n++, at += step) {
    if (lo[at] !== -Infinity && (best < 0 || !(lo[at] <= lo[best]))) best = at;
  }
  return best;
}
