/**
 * The operators of score_mod and prob_mod that make, measure and rearrange tensors; they move enclosures as they are.
 * Shapes, indices and axes must be known, which they are unless somebody computed them from the scores.
 */
import { describe } from "../check.ts";
import { sizeOf } from "../tensor.ts";
import { axisOf, integer, known, walk } from "./axes.ts";
import {
  checkSize,
  type GraphContext,
  type GraphOperator,
  onlyAttributes,
  parseTensor,
  type Ranged,
  required,
  stepsOf,
} from "./ranged.ts";
import { emptyRange } from "./steps.ts";

/** Operators by their ONNX names. */
export const shaping: Readonly<Record<string, GraphOperator>> = {
  Constant(inputs, context) {
    onlyAttributes(context, ["value", "value_float", "value_floats", "value_int", "value_ints"]);
    required(inputs, [0, 0], context);
    const [[name, value], ...more] = Object.entries(context.attrs);
    if (more.length > 0) throw new RangeError(`${context.at}: expected one value, got ${more.length + 1}`);
    if (name === "value") return parseTensor(`${context.at}: value`, value);
    const dtype = name.startsWith("value_float") ? "F32" : "I64";
    const list = name.endsWith("s");
    const data = list ? value : [value];
    if (!Array.isArray(data)) {
      throw new TypeError(`${context.at}: ${name}: expected a list, got ${describe(value)}`);
    }
    return parseTensor(`${context.at}: ${name}`, { dtype, shape: list ? [data.length] : [], data });
  },
  ConstantOfShape(inputs, context) {
    onlyAttributes(context, ["value"]);
    const shape = known(required(inputs, [1, 1], context)[0], context);
    const value = context.attrs["value"] === undefined
      ? known1("float32", 0)
      : parseTensor(`${context.at}: value`, context.attrs["value"]);
    if (value.lo.length !== 1) throw new RangeError(`${context.at}: value: expected one element`);
    return take(value, shape, context, () => 0);
  },
  Shape(inputs, context) {
    onlyAttributes(context, ["start", "end"]);
    const { shape } = required(inputs, [1, 1], context)[0];
    const part = shape.slice(integer(context, "start", 0), integer(context, "end", shape.length));
    return vector(part);
  },
  Size(inputs, context) {
    onlyAttributes(context, []);
    return known1("int64", sizeOf(required(inputs, [1, 1], context)[0].shape));
  },
  Range(inputs, context) {
    onlyAttributes(context, []);
    const all = required(inputs, [3, 3], context);
    const [start, limit, delta] = all.map((x) => known(x, context)[0]);
    const count = Math.max(0, Math.ceil((limit - start) / delta));
    checkSize([count], context.at, context.most);
    const values = Float64Array.from({ length: count }, (_, n) => start + n * delta);
    return { dtype: all[0].dtype, shape: [count], lo: values, hi: values };
  },
  Reshape(inputs, context) {
    onlyAttributes(context, ["allowzero"]);
    const [x, target] = required(inputs, [2, 2], context);
    const keep = integer(context, "allowzero", 0) === 0;
    const shape = known(target, context).map((n, axis) => n === 0 && keep ? x.shape[axis] : n);
    return { ...x, shape: filledIn(shape, x, context) };
  },
  Unsqueeze(inputs, context) {
    onlyAttributes(context, []);
    const [x, list] = required(inputs, [2, 2], context);
    const rank = x.shape.length + list.lo.length;
    const axes = new Set(known(list, context).map((axis) => axisOf(axis, rank, context)));
    const rest = [...x.shape];
    return { ...x, shape: Array.from({ length: rank }, (_, axis) => axes.has(axis) ? 1 : rest.shift()!) };
  },
  Squeeze(inputs, context) {
    onlyAttributes(context, []);
    const [x, list] = required(inputs, [1, 2], context);
    const axes = list ? known(list, context).map((axis) => axisOf(axis, x.shape.length, context)) : null;
    if (axes?.some((axis) => x.shape[axis] !== 1)) {
      throw new RangeError(`${context.at}: expected axes of length 1, got [${axes}] of [${x.shape}]`);
    }
    return { ...x, shape: x.shape.filter((n, axis) => axes ? !axes.includes(axis) : n !== 1) };
  },
  Expand(inputs, context) {
    onlyAttributes(context, []);
    const [x, target] = required(inputs, [2, 2], context);
    const wanted = known(target, context);
    const rank = Math.max(wanted.length, x.shape.length);
    const own = [...new Array<number>(rank - x.shape.length).fill(1), ...x.shape];
    const shape = [...new Array<number>(rank - wanted.length).fill(1), ...wanted].map((n, axis) => {
      if (n !== own[axis] && n !== 1 && own[axis] !== 1) {
        throw new RangeError(
          `${context.at}: expected a shape that [${x.shape}] stretches to, got [${wanted}]`,
        );
      }
      return own[axis] === 1 ? n : own[axis];
    });
    checkSize(shape, context.at, context.most);
    return strided(x, shape, stepsOf(x.shape, shape), context);
  },
  Transpose(inputs, context) {
    onlyAttributes(context, ["perm"]);
    const [x] = required(inputs, [1, 1], context);
    const rank = x.shape.length;
    const perm = context.attrs["perm"] ?? x.shape.map((_, axis) => rank - 1 - axis);
    if (
      !Array.isArray(perm) || [...perm].sort((a, b) => a - b).some((axis, n) => axis !== n) ||
      perm.length !== rank
    ) {
      throw new RangeError(`${context.at}: perm: expected an order of ${rank} axes, got ${describe(perm)}`);
    }
    const steps = stepsOf(x.shape, x.shape);
    const own = x.shape.map((n, axis) => n === 1 ? 0 : steps[axis]);
    return strided(
      x,
      perm.map((axis: number) => x.shape[axis]),
      perm.map((axis: number) => own[axis]),
      context,
    );
  },
  Gather(inputs, context) {
    onlyAttributes(context, ["axis"]);
    const [x, list] = required(inputs, [2, 2], context);
    const axis = axisOf(integer(context, "axis", 0), x.shape.length, context);
    const length = x.shape[axis];
    const picks = known(list, context).map((n) => {
      if (n < -length || n >= length) {
        throw new RangeError(`${context.at}: expected indices below ${length}, got ${n}`);
      }
      return n < 0 ? n + length : n;
    });
    const inner = sizeOf(x.shape.slice(axis + 1));
    const shape = [...x.shape.slice(0, axis), ...list.shape, ...x.shape.slice(axis + 1)];
    return take(x, shape, context, (e) => {
      const pick = picks[Math.floor(e / inner) % picks.length];
      return (Math.floor(e / (inner * picks.length)) * length + pick) * inner + e % inner;
    });
  },
  Concat(inputs, context) {
    onlyAttributes(context, ["axis"]);
    const parts = required(inputs, [1, 64], context);
    const [first] = parts;
    const axis = axisOf(integer(context, "axis", NaN), first.shape.length, context);
    for (const { dtype, shape } of parts) {
      if (
        dtype !== first.dtype || shape.length !== first.shape.length ||
        shape.some((n, a) => a !== axis && n !== first.shape[a])
      ) {
        throw new RangeError(`${context.at}: expected tensors that fit, got ${dtype} [${shape}]`);
      }
    }
    const inner = sizeOf(first.shape.slice(axis + 1));
    const total = parts.reduce((sum, { shape }) => sum + shape[axis], 0);
    const shape = first.shape.map((n, a) => a === axis ? total : n);
    checkSize(shape, context.at, context.most);
    const out = emptyRange(shape, parts.every((x) => x.lo === x.hi));
    const outer = sizeOf(shape.slice(0, axis));
    let start = 0;
    for (const { lo, hi, shape: own } of parts) {
      const run = own[axis] * inner;
      for (let o = 0; o < outer; o++) {
        out.lo.set(lo.subarray(o * run, (o + 1) * run), o * total * inner + start);
        out.hi.set(hi.subarray(o * run, (o + 1) * run), o * total * inner + start);
      }
      start += run;
    }
    return { dtype: first.dtype, ...out };
  },
  Trilu(inputs, context) {
    onlyAttributes(context, ["upper"]);
    const [x, offset] = required(inputs, [1, 2], context);
    const k = offset ? known(offset, context)[0] : 0;
    const upper = integer(context, "upper", 1) === 1;
    const [rows, columns] = x.shape.slice(-2);
    if (columns === undefined) {
      throw new RangeError(`${context.at}: expected at least 2 axes, got [${x.shape}]`);
    }
    return take(x, x.shape, context, (e) => {
      const i = Math.floor(e / columns) % rows;
      const j = e % columns;
      return (upper ? j >= i + k : j <= i + k) ? e : -1;
    });
  },
};

function known1(dtype: Ranged["dtype"], value: number): Ranged {
  const values = Float64Array.of(value);
  return { dtype, shape: [], lo: values, hi: values };
}

function vector(values: readonly number[]): Ranged {
  const data = Float64Array.from(values);
  return { dtype: "int64", shape: [data.length], lo: data, hi: data };
}

/** Element e of the result is element index(e) of x, or 0 for −1. */
function take(
  x: Ranged,
  shape: readonly number[],
  context: GraphContext,
  index: (e: number) => number,
): Ranged {
  checkSize(shape, context.at, context.most);
  const out = emptyRange(shape, x.lo === x.hi);
  for (let e = 0; e < out.lo.length; e++) {
    const from = index(e);
    out.lo[e] = from < 0 ? 0 : x.lo[from];
    out.hi[e] = from < 0 ? 0 : x.hi[from];
  }
  return { dtype: x.dtype, ...out };
}

function strided(
  x: Ranged,
  shape: readonly number[],
  steps: readonly number[],
  context: GraphContext,
): Ranged {
  return take(x, shape, context, walk(shape, steps));
}

function filledIn(shape: number[], x: Ranged, { at }: GraphContext): number[] {
  const open = shape.indexOf(-1);
  const rest = shape.filter((_, axis) => axis !== open).reduce((a, b) => a * b, 1);
  const filled = open < 0 ? shape : shape.map((n, axis) => axis === open ? x.lo.length / rest : n);
  if (sizeOf(filled) !== x.lo.length || filled.some((n) => !Number.isSafeInteger(n) || n < 0)) {
    throw new RangeError(`${at}: expected a shape for ${x.lo.length} elements, got [${shape}]`);
  }
  return filled;
}
