/** RotaryEmbedding, Softmax, LogSoftmax and FlexAttention with its subgraphs, beyond their node tests. */
import { describe, expect, it } from "vitest";
import type { DType } from "../src/dtype.ts";
import { parseGraph, runGraph } from "../src/onnx/graph.ts";
import type { Ranged } from "../src/onnx/ranged.ts";
import { EXACT, nearest, ordinary } from "../src/onnx/evaluations.ts";
import { flexAttention, logSoftmax, rotaryEmbedding, softmax } from "../src/onnx/index.ts";
import { fromFloat64, sizeOf, type Tensor, toFloat64, view } from "../src/tensor.ts";
import { Random } from "./support/random.ts";
import { expectThrow } from "./support/throws.ts";

const random = new Random(11);
const uniform = () => random.next() / 2 ** 31 - 1;

function tensor(shape: number[], dtype: DType = "float64"): Tensor {
  return { data: fromFloat64(Float64Array.from({ length: sizeOf(shape) }, uniform), dtype), shape, dtype };
}

const list = (x: Tensor) => Array.from(toFloat64(view("x", x)));

/** Two float64 evaluations of a few operations on numbers below 8. */
const CLOSE = 2 ** -46;

function expectClose(got: readonly number[], wanted: readonly number[]): void {
  expect(got.length).toBe(wanted.length);
  got.forEach((x, n) => {
    const same = Object.is(x, wanted[n]) || Math.abs(x - wanted[n]) <= CLOSE;
    expect(same, `[${n}] ${x} ${wanted[n]}`).toBe(true);
  });
}

describe("RotaryEmbedding", () => {
  const X = tensor([2, 3, 4, 8]);
  const table = { cos_cache: tensor([9, 3]), sin_cache: tensor([9, 3]) };
  const position_ids = { data: BigInt64Array.from([0, 3, 8, 2, 5, 5, 1, 7], BigInt), shape: [2, 4] };

  it("turns half-split and interleaved pairs, in part of the width", () => {
    for (const interleaved of [0, 1]) {
      const Y = list(
        rotaryEmbedding({ X, ...table, position_ids }, { rotary_embedding_dim: 6, interleaved }).Y,
      );
      const x = list(X);
      const wanted = x.slice();
      for (let bh = 0; bh < 6; bh++) {
        for (let i = 0; i < 4; i++) {
          const p = Number(position_ids.data[Math.floor(bh / 3) * 4 + i]);
          for (let d = 0; d < 3; d++) {
            const row = (bh * 4 + i) * 8;
            const [a, b] = interleaved ? [row + 2 * d, row + 2 * d + 1] : [row + d, row + d + 3];
            const [c, s] = [list(table.cos_cache)[p * 3 + d], list(table.sin_cache)[p * 3 + d]];
            wanted[a] = c * x[a] - s * x[b];
            wanted[b] = s * x[a] + c * x[b];
          }
        }
      }
      expectClose(Y, wanted);
    }
  });

  it("takes caches that are picked already, and three-dimensional input", () => {
    const gather = (cache: Tensor): Tensor => {
      const rows = Array.from(position_ids.data, (p) => list(cache).slice(Number(p) * 3, Number(p) * 3 + 3));
      return { data: Float64Array.from(rows.flat()), shape: [2, 4, 3], dtype: "float64" };
    };
    const flat = { data: new Float64Array(192), shape: [2, 4, 24] };
    list(X).forEach((x, n) => {
      const [b, h, i, d] = [Math.floor(n / 96), Math.floor(n / 32) % 3, Math.floor(n / 8) % 4, n % 8];
      flat.data[((b * 4 + i) * 3 + h) * 8 + d] = x;
    });
    const attributes = { rotary_embedding_dim: 6 };
    const whole = list(rotaryEmbedding({ X, ...table, position_ids }, attributes).Y);
    const picked = { cos_cache: gather(table.cos_cache), sin_cache: gather(table.sin_cache) };
    expect(list(rotaryEmbedding({ X, ...picked }, attributes).Y)).toEqual(whole);
    const { Y } = rotaryEmbedding({ X: flat, ...picked }, { ...attributes, num_heads: 3 });
    expect(Y.shape).toEqual([2, 4, 24]);
    list(Y).forEach((y, n) => {
      const [b, i, h, d] = [Math.floor(n / 96), Math.floor(n / 24) % 4, Math.floor(n / 8) % 3, n % 8];
      expect(y).toBe(whole[((b * 3 + h) * 4 + i) * 8 + d]);
    });
  });

  it("refuses by name", () => {
    const run = (inputs: object, attributes: object) => () =>
      rotaryEmbedding({ X, ...table, position_ids, ...inputs }, attributes);
    const six = { rotary_embedding_dim: 6 };
    expectThrow(run({ X: tensor([2, 3]) }, {}), RangeError, "X: expected [B,H,N,D] or [B,N,H·D], got [2,3]");
    expectThrow(
      run({}, { rotary_embedding_dim: 5 }),
      RangeError,
      "rotary_embedding_dim: expected an even number up to 8, got 5",
    );
    expectThrow(
      run({}, { rotary_embedding_dim: 10 }),
      RangeError,
      "rotary_embedding_dim: expected an even number up to 8, got 10",
    );
    expectThrow(run({}, {}), RangeError, "cos_cache: expected [positions,R/2] = [_,4], got [9,3]");
    expectThrow(
      run({ position_ids: undefined }, six),
      RangeError,
      "cos_cache: expected [B,N,R/2] = [2,4,3], got [9,3]",
    );
    expectThrow(
      run({ sin_cache: tensor([9, 3], "float32") }, six),
      TypeError,
      "sin_cache: expected float64 like X, got float32",
    );
    expectThrow(
      run({ position_ids: { data: new BigInt64Array(4), shape: [1, 4] } }, six),
      RangeError,
      "position_ids: expected [B,N] = [2,4], got [1,4]",
    );
    expectThrow(
      run({ position_ids: { data: new BigInt64Array(8).fill(9n), shape: [2, 4] } }, six),
      RangeError,
      "position_ids[0]: expected a position below 9, got 9",
    );
    expectThrow(
      run({ X: tensor([2, 4, 24]) }, six),
      RangeError,
      "num_heads: expected a count for three-dimensional inputs, got 0",
    );
    expectThrow(run({ cos_cache: undefined }, six), TypeError, "cos_cache: expected a tensor, got none");
  });
});

describe("Softmax and LogSoftmax", () => {
  const input = tensor([2, 3, 4]);
  /** Over every group of elements that share the coordinates outside `axes`. */
  function formula(x: number[], shape: number[], axes: number[]): number[] {
    const key = (n: number) => {
      let rest = n;
      return shape.map((_, axis) => {
        const stride = sizeOf(shape.slice(axis + 1));
        const index = Math.floor(rest / stride);
        rest %= stride;
        return axes.includes(axis) ? "_" : index;
      }).join();
    };
    return x.map((v, n) =>
      Math.exp(v) / x.reduce((sum, w, m) => key(n) === key(m) ? sum + Math.exp(w) : sum, 0)
    );
  }

  it.each([[-1, [2]], [0, [0]], [1, [1]], [-2, [1]], [2, [2]]])("axis %i", (axis, axes) => {
    const wanted = formula(list(input), [2, 3, 4], axes);
    expectClose(list(softmax({ input }, { axis }).output), wanted);
    expectClose(list(logSoftmax({ input }, { axis }).output), wanted.map(Math.log));
  });

  it("is over the last axis unless told; before opset 13 over all from axis 1", () => {
    expectClose(list(softmax({ input }).output), formula(list(input), [2, 3, 4], [2]));
    expectClose(list(softmax({ input }, {}, { opset: 11 }).output), formula(list(input), [2, 3, 4], [1, 2]));
    expectClose(
      list(softmax({ input }, { axis: 0 }, { opset: 1 }).output),
      formula(list(input), [2, 3, 4], [0, 1, 2]),
    );
    expectClose(list(softmax({ input }, { axis: 3 }, { opset: 1 }).output), new Array(24).fill(1));
  });

  it("survives large numbers, −∞ and empty tensors", () => {
    const large = { data: Float64Array.of(1e308, 1e308, -Infinity, -1e308), shape: [4] };
    expect(list(softmax({ input: large }).output)).toEqual([0.5, 0.5, 0, 0]);
    expectClose(list(logSoftmax({ input: large }).output), [-Math.LN2, -Math.LN2, -Infinity, -Infinity]);
    const masked = { data: Float64Array.of(-Infinity, -Infinity), shape: [2] };
    expect(list(softmax({ input: masked }).output)).toEqual([NaN, NaN]);
    expect(list(logSoftmax({ input: masked }).output)).toEqual([NaN, NaN]);
    const spoilt = { data: Float64Array.of(NaN, 1, 2, 2), shape: [2, 2] };
    expect(list(softmax({ input: spoilt }).output)).toEqual([NaN, NaN, 0.5, 0.5]);
    // Far below what a float32 softmax can hold, the logarithm is still exact.
    const far = { data: Float64Array.of(0, -1000), shape: [2] };
    expect(list(logSoftmax({ input: far }).output)).toEqual([0, -1000]);
    expect(softmax({ input: tensor([0, 3]) }).output.data.length).toBe(0);
  });

  it("refuses an axis that isn't there", () => {
    expectThrow(
      () => softmax({ input }, { axis: 3 }),
      RangeError,
      "axis: expected an integer from -3 to 2, got 3",
    );
    expectThrow(
      () => logSoftmax({ input }, { axis: -4 }),
      RangeError,
      "axis: expected an integer from -3 to 2, got -4",
    );
    expectThrow(
      () => softmax({ input: { data: new Int32Array(2), shape: [2] } }),
      TypeError,
      "input: expected a floating dtype, got int32",
    );
  });
});

type Constant = { dtype: string; shape: number[]; data: unknown[] };
const f64 = (...data: unknown[]): Constant => ({
  dtype: "F64",
  shape: data.length === 1 ? [] : [data.length],
  data,
});
const i64 = (...data: number[]): Constant => ({
  dtype: "I64",
  shape: data.length === 1 ? [] : [data.length],
  data,
});

/** A graph of one node on `x`. */
function graphOf(
  op: string,
  input: string[],
  attrs: object = {},
  initializers: Record<string, Constant> = {},
): object {
  return { inputs: ["x"], outputs: ["y"], initializers, nodes: [{ op, input, output: ["y"], attrs }] };
}

function ranged(shape: number[], data: number[], dtype: DType = "float64"): Ranged {
  const values = Float64Array.from(data);
  return { dtype, shape, lo: values, hi: values };
}

function evaluate(graph: object, x: Ranged): number[] {
  return Array.from(runGraph("score_mod", parseGraph("score_mod", graph), x, () => EXACT).lo);
}

describe("subgraphs", () => {
  const data = [-2.5, -1, -0.5, 0, 0.5, 1.5, 2, 3];
  const x = ranged([8], data);
  const unary: [string, (v: number) => number][] = [
    ["Neg", (v) => -v],
    ["Abs", Math.abs],
    ["Sign", Math.sign],
    ["Relu", (v) => Math.max(0, v)],
    ["Floor", Math.floor],
    ["Ceil", Math.ceil],
    ["Round", (v) => Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v)],
    ["Exp", Math.exp],
    ["Log", Math.log],
    ["Tanh", Math.tanh],
    ["Sigmoid", (v) => 1 / (1 + Math.exp(-v))],
    ["Sqrt", Math.sqrt],
    ["Reciprocal", (v) => 1 / v],
    ["Sin", Math.sin],
    ["Cos", Math.cos],
    ["Identity", (v) => v],
  ];
  it.each(unary)("%s", (op, f) => {
    expectClose(evaluate(graphOf(op, ["x"]), x), data.map(f));
  });

  const other = [1, 2, -0.5, 3, 0.5, -2, 2, 0.25];
  const binary: [string, (a: number, b: number) => number][] = [
    ["Add", (a, b) => a + b],
    ["Sub", (a, b) => a - b],
    ["Mul", (a, b) => a * b],
    ["Div", (a, b) => a / b],
    ["Pow", Math.pow],
    ["Min", Math.min],
    ["Max", Math.max],
    ["Sum", (a, b) => a + b],
  ];
  it.each(binary)("%s", (op, f) => {
    const initializers = { c: f64(...other) };
    expectClose(evaluate(graphOf(op, ["x", "c"], {}, initializers), x), data.map((a, n) => f(a, other[n])));
  });

  it("Mod: the sign of the divisor for integers, fmod 1 for floats", () => {
    const c = { c: f64(...other) };
    expectClose(evaluate(graphOf("Mod", ["x", "c"], { fmod: 1 }, c), x), data.map((a, n) => a % other[n]));
    const graph = {
      ...graphOf("Cast", ["r"], { to: 11 }, { a: i64(-7, 7, -7, 7, 6), b: i64(3, 3, -3, -3, 3) }),
      nodes: [
        { op: "Mod", input: ["a", "b"], output: ["r"], attrs: {} },
        { op: "Cast", input: ["r"], output: ["y"], attrs: { to: 11 } },
      ],
    };
    expect(evaluate(graph, ranged([5], [0, 0, 0, 0, 0]))).toEqual([2, 1, -1, -2, 0]);
  });

  const compare: [string, (a: number, b: number) => boolean][] = [
    ["Less", (a, b) => a < b],
    ["LessOrEqual", (a, b) => a <= b],
    ["Greater", (a, b) => a > b],
    ["GreaterOrEqual", (a, b) => a >= b],
    ["Equal", (a, b) => a === b],
  ];
  const logic: [string, (a: boolean, b: boolean) => boolean][] = [
    ["And", (a, b) => a && b],
    ["Or", (a, b) => a || b],
    ["Xor", (a, b) => a !== b],
  ];
  const chosen = (nodes: object[], initializers: object) => ({
    inputs: ["x"],
    outputs: ["y"],
    initializers: { one: f64(1), zero: f64(0), ...initializers },
    nodes: [...nodes, { op: "Where", input: ["m", "one", "zero"], output: ["y"], attrs: {} }],
  });
  it.each(compare)("%s and Where", (op, f) => {
    const graph = chosen([{ op, input: ["x", "c"], output: ["m"], attrs: {} }], { c: f64(...other) });
    expect(evaluate(graph, x)).toEqual(data.map((a, n) => f(a, other[n]) ? 1 : 0));
  });
  it.each(logic)("%s and Not", (op, f) => {
    const bits = { dtype: "BOOL", shape: [4] };
    const a = [true, true, false, false];
    const b = [true, false, true, false];
    const graph = chosen([
      { op, input: ["a", "b"], output: ["n"], attrs: {} },
      { op: "Not", input: ["n"], output: ["m"], attrs: {} },
    ], { a: { ...bits, data: a }, b: { ...bits, data: b } });
    expect(evaluate(graph, ranged([4], [0, 0, 0, 0]))).toEqual(a.map((_, n) => f(a[n], b[n]) ? 0 : 1));
  });
  it("IsNaN", () => {
    const graph = chosen([{ op: "IsNaN", input: ["x"], output: ["m"], attrs: {} }], {});
    expect(evaluate(graph, ranged([3], [1, NaN, Infinity]))).toEqual([0, 1, 0]);
  });

  it("Clip with either limit left out", () => {
    const limits = { lo: f64(-1), hi: f64(1) };
    const clip = (input: string[]) => evaluate(graphOf("Clip", input, {}, limits), x);
    expect(clip(["x", "lo", "hi"])).toEqual(data.map((v) => Math.min(1, Math.max(-1, v))));
    expect(clip(["x", "", "hi"])).toEqual(data.map((v) => Math.min(1, v)));
    expect(clip(["x", "lo"])).toEqual(data.map((v) => Math.max(-1, v)));
  });

  /** The nodes' results flattened into x's dtype and shape. */
  function shaped(nodes: object[], last: string, initializers: object, like: number[]): number[] {
    const graph = {
      inputs: ["x"],
      outputs: ["y"],
      initializers: { flat: i64(-1), ...initializers },
      nodes: [
        ...nodes,
        { op: "Reshape", input: [last, "flat"], output: ["line"], attrs: {} },
        { op: "Cast", input: ["line"], output: ["y"], attrs: { to: 11 } },
      ],
    };
    return evaluate(graph, ranged([like.length], like));
  }
  const node = (op: string, input: string[], output: string, attrs: object = {}) => ({
    op,
    input,
    output: [output],
    attrs,
  });

  it("Constant in its forms, ConstantOfShape, Concat", () => {
    const nodes = [
      node("Constant", [], "a", { value: f64(5, 6) }),
      node("Constant", [], "f", { value_floats: [7, 0.5] }),
      node("Cast", ["f"], "b", { to: 11 }),
      node("Constant", [], "n", { value_ints: [2] }),
      node("ConstantOfShape", ["n"], "c", { value: { dtype: "F64", shape: [1], data: [9] } }),
      node("Concat", ["a", "b", "c"], "all", { axis: 0 }),
    ];
    expect(shaped(nodes, "all", {}, new Array(6).fill(0))).toEqual([5, 6, 7, 0.5, 9, 9]);
  });

  it("Shape, Size, Range, Gather", () => {
    const nodes = [
      node("Shape", ["t"], "s", { start: 1 }),
      node("Size", ["t"], "n"),
      node("Gather", ["s", "last"], "w", { axis: 0 }),
      node("Range", ["zero", "w", "one"], "r"),
      node("Unsqueeze", ["n", "axis"], "n1"),
      node("Concat", ["s", "n1", "r"], "all", { axis: -1 }),
    ];
    const t = { dtype: "F64", shape: [2, 1, 3], data: [1, 2, 3, 4, 5, 6] };
    const more = { t, last: i64(-1), zero: i64(0), one: i64(1), axis: { ...i64(0), shape: [1] } };
    expect(shaped(nodes, "all", more, new Array(6).fill(0))).toEqual([1, 3, 6, 0, 1, 2]);
  });

  it("Gather along an inner axis, Transpose, Expand, Squeeze, Trilu", () => {
    const t = { dtype: "F64", shape: [2, 3], data: [1, 2, 3, 4, 5, 6] };
    const ids = { dtype: "I64", shape: [2, 1], data: [2, 0] };
    expect(shaped([node("Gather", ["t", "ids"], "g", { axis: 1 })], "g", { t, ids }, [0, 0, 0, 0])).toEqual([
      3,
      1,
      6,
      4,
    ]);
    expect(shaped([node("Transpose", ["t"], "g")], "g", { t }, t.data)).toEqual([1, 4, 2, 5, 3, 6]);
    const wide = [node("Constant", [], "c", { value_floats: [1, 2] }), node("Expand", ["c", "to"], "g")];
    expect(shaped(wide, "g", { to: i64(2, 1) }, [0, 0, 0, 0])).toEqual([1, 2, 1, 2]);
    const box = { dtype: "F64", shape: [1, 2, 1], data: [3, 4] };
    const squeezed = [node("Squeeze", ["box", "axis"], "q"), node("Shape", ["q"], "g")];
    expect(shaped(squeezed, "g", { box, axis: { ...i64(0), shape: [1] } }, [0, 0])).toEqual([2, 1]);
    expect(shaped([node("Trilu", ["t"], "g", { upper: 0 })], "g", { t }, t.data)).toEqual([1, 0, 0, 4, 5, 0]);
    expect(shaped([node("Trilu", ["t", "k"], "g")], "g", { t, k: i64(1) }, t.data)).toEqual([
      0,
      2,
      3,
      0,
      0,
      6,
    ]);
  });

  it("ReduceMax, ReduceMin, ReduceSum", () => {
    const t = { dtype: "F64", shape: [2, 3], data: [1, 9, 3, -4, 5, 6] };
    const reduce = (op: string, axis: number, like: number[], attrs = {}) =>
      shaped([node(op, ["t", "axes"], "g", attrs)], "g", { t, axes: { ...i64(axis), shape: [1] } }, like);
    expect(reduce("ReduceMax", 1, [0, 0])).toEqual([9, 6]);
    expect(reduce("ReduceMin", 0, [0, 0, 0], { keepdims: 0 })).toEqual([-4, 5, 3]);
    expect(reduce("ReduceSum", -1, [0, 0])).toEqual([13, 7]);
    expect(shaped([node("ReduceSum", ["t"], "g")], "g", { t }, [0])).toEqual([20]);
  });

  it("Cast truncates, rounds and tells zero", () => {
    const cast = (to: number) => shaped([node("Cast", ["x"], "c", { to })], "c", {}, [-1.7, 0, 0.1, 1.9]);
    expect(cast(7)).toEqual([-1, 0, 0, 1]);
    expect(cast(9)).toEqual([1, 0, 1, 1]);
    // Casting is where a 16-bit dtype rounds; float32 stays as exact as float64.
    const graph = {
      ...graphOf("Cast", ["h"], { to: 11 }),
      nodes: [node("Cast", ["x"], "h", { to: 10 }), node("Cast", ["h"], "y", { to: 11 })],
    };
    const parsed = parseGraph("score_mod", graph);
    const halves = runGraph("score_mod", parsed, ranged([1], [0.1]), ordinary);
    expect([halves.lo[0], halves.hi[0]]).toEqual([nearest("float16")(0.1), nearest("float16")(0.1)]);
  });

  it("encloses what float32 makes of random graphs", () => {
    const ops = [
      "Add",
      "Sub",
      "Mul",
      "Div",
      "Min",
      "Max",
      "Neg",
      "Abs",
      "Exp",
      "Tanh",
      "Sqrt",
      "Sigmoid",
      "Relu",
      "Sin",
    ];
    const float: Record<string, (a: number, b: number) => number> = {
      Add: (a, b) => a + b,
      Sub: (a, b) => a - b,
      Mul: (a, b) => a * b,
      Div: (a, b) => a / b,
      Min: Math.min,
      Max: Math.max,
      Neg: (a) => -a,
      Abs: Math.abs,
      Exp: Math.exp,
      Tanh: Math.tanh,
      Sqrt: Math.sqrt,
      Sigmoid: (a) => 1 / (1 + Math.exp(-a)),
      Relu: (a) => Math.max(0, a),
      Sin: Math.sin,
    };
    let wide = 0;
    for (let round = 0; round < 300; round++) {
      const inputs = Array.from({ length: 4 }, () => Math.fround(uniform() * 3));
      const c = Array.from({ length: 4 }, () => Math.fround(uniform() * 3));
      const values: Record<string, number[]> = { x: inputs, c };
      const nodes: object[] = [];
      let last = "x";
      for (let n = 0; n < 6; n++) {
        const op = random.pick(ops);
        const names = ["Add", "Sub", "Mul", "Div", "Min", "Max"].includes(op)
          ? [last, random.pick(Object.keys(values))]
          : [last];
        const output = n === 5 ? "y" : `t${n}`;
        nodes.push({ op, input: names, output: [output], attrs: {} });
        values[output] = inputs.map((_, e) =>
          Math.fround(float[op](values[names[0]][e], values[names[1] ?? names[0]][e]))
        );
        last = output;
      }
      const initializers = { c: { dtype: "F32", shape: [4], data: c } };
      const graph = parseGraph("score_mod", { inputs: ["x"], outputs: ["y"], initializers, nodes });
      const { lo, hi } = runGraph("score_mod", graph, ranged([4], inputs, "float32"), ordinary);
      values["y"].forEach((y, e) => {
        // 0/0 and the square root of what may be negative are in no interval.
        if (Number.isNaN(lo[e]) || Number.isNaN(hi[e]) || Number.isNaN(y)) return;
        expect(y >= lo[e] && y <= hi[e], `${JSON.stringify(nodes)} [${e}] ${lo[e]} ≤ ${y} ≤ ${hi[e]}`).toBe(
          true,
        );
        if (hi[e] > lo[e]) wide++;
      });
    }
    expect(wide).toBeGreaterThan(800);
  });
});

describe("subgraphs refuse", () => {
  const base = { inputs: ["x"], outputs: ["y"], initializers: {}, nodes: [] as unknown[] };
  const one = (op: string, input: string[] = ["x"], attrs: unknown = {}) => ({
    ...base,
    initializers: { i: i64(3), f: { dtype: "F32", shape: [], data: [1] }, big: i64(100000, 100000) },
    nodes: [{ op, input, output: ["y"], attrs }],
  });
  const cases: [string, typeof TypeError | typeof RangeError, unknown][] = [
    ['score_mod.nodes[0].op: no such operator here, got "Einsum"', RangeError, one("Einsum")],
    ['score_mod.nodes[0].op: no such operator here, got "constructor"', RangeError, one("constructor")],
    ["score_mod.nodes[0] Add: expected 2 inputs, got 1", RangeError, one("Add")],
    [
      "score_mod.nodes[0] Add: expected inputs of one dtype, got float64 and int64",
      TypeError,
      one("Add", ["x", "i"]),
    ],
    [
      "score_mod.nodes[0] Add: expected inputs of one dtype, got float64 and float32",
      TypeError,
      one("Add", ["x", "f"]),
    ],
    ['score_mod.nodes[0] Add: expected a tensor that is there, got "z"', RangeError, one("Add", ["x", "z"])],
    ["score_mod.nodes[0] And: expected bool inputs, got float64", TypeError, one("And", ["x", "x"])],
    ["score_mod.nodes[0] Exp: expected float inputs, got int64", TypeError, one("Exp", ["i"])],
    ["score_mod.nodes[0] Add: alpha: no such attribute", TypeError, one("Add", ["x", "x"], { alpha: 1 })],
    [
      "score_mod.nodes[0] Cast: bits: no such attribute; there are to, saturate",
      TypeError,
      one("Cast", ["x"], { bits: 1 }),
    ],
    [
      "score_mod.nodes[0] Cast: to: expected one of 1, 2, 3, 6, 7, 9, 10, 11, 16, got 8",
      RangeError,
      one("Cast", ["x"], { to: 8 }),
    ],
    [
      "score_mod.nodes[0] Where: expected a bool condition, got float64",
      TypeError,
      one("Where", ["x", "x", "x"]),
    ],
    ["score_mod.nodes[0] Mod: expected fmod 1 for floats", RangeError, one("Mod", ["x", "x"])],
    [
      "score_mod.nodes[0] Expand: expected lengths from 0 to 65536, got [100000,100000]",
      RangeError,
      one("Expand", ["x", "big"]),
    ],
    [
      "score_mod.nodes[0] ConstantOfShape: expected lengths from 0 to 65536, got [100000,100000]",
      RangeError,
      one("ConstantOfShape", ["big"]),
    ],
    ["score_mod.nodes[0] Gather: expected indices below 1, got 3", RangeError, one("Gather", ["x", "i"])],
    [
      "score_mod.nodes[0] Reshape: expected a shape for 1 elements, got [3]",
      RangeError,
      one("Reshape", ["x", "i"]),
    ],
    [
      "score_mod.nodes[0] Transpose: perm: expected an order of 1 axes, got Array",
      RangeError,
      one("Transpose", ["x"], { perm: [1] }),
    ],
    ["score_mod.outputs: expected float64 [1], got int64 []", RangeError, one("Identity", ["i"])],
    ['score_mod.outputs: expected a tensor that is there, got "y"', RangeError, base],
    ["score_mod.outputs: expected one, got 2", RangeError, { ...base, outputs: ["y", "z"] }],
    ["score_mod.inputs: expected a list, got undefined", TypeError, { ...base, inputs: undefined }],
    ["score_mod.extra: expected only inputs, outputs, initializers, nodes", TypeError, { ...base, extra: 1 }],
    ["score_mod.nodes[0]: expected an object, got null", TypeError, { ...base, nodes: [null] }],
    ["score_mod.nodes[0].op: expected a string, got 5", TypeError, {
      ...base,
      nodes: [{ op: 5, output: ["y"] }],
    }],
    ["score_mod.nodes[0].attrs: expected an object, got Array", TypeError, one("Add", ["x"], [])],
    ['score_mod.nodes[0] Neg: expected a new name, got "x"', RangeError, {
      ...base,
      nodes: [{ op: "Neg", input: ["x"], output: ["x"] }],
    }],
    ["score_mod.nodes: expected at most 10000, got 10001", RangeError, {
      ...base,
      nodes: new Array(10001).fill(null),
    }],
    ["score_mod.initializers.c.data: expected 2 elements for [2], got 1", RangeError, {
      ...base,
      initializers: { c: { dtype: "F32", shape: [2], data: [1] } },
    }],
    [
      'score_mod.initializers.c.dtype: expected one of F64, F32, F16, BF16, I64, I32, I8, U8, BOOL, got "F8"',
      TypeError,
      {
        ...base,
        initializers: { c: { dtype: "F8", shape: [], data: [1] } },
      },
    ],
    ["score_mod.initializers.c.data: expected integers within ±2^53 for I64", RangeError, {
      ...base,
      initializers: { c: i64(0.5) },
    }],
    ["score_mod.initializers.c.data: expected numbers, got Object", TypeError, {
      ...base,
      initializers: { c: f64({}) },
    }],
  ];
  it.each(cases)("%s", (message, Class, graph) => {
    const run = () => runGraph("score_mod", parseGraph("score_mod", graph), ranged([1], [1]), () => EXACT);
    expectThrow(run, Class, message);
  });
});

describe("FlexAttention", () => {
  const Q = tensor([1, 4, 3, 8]);
  const K = tensor([1, 2, 5, 8]);
  const V = tensor([1, 2, 5, 2]);
  const node = (op: string, input: string[], output: string, attrs: object = {}) => ({
    op,
    input,
    output: [output],
    attrs,
  });

  it("is attention with its scores and its probabilities changed", () => {
    const score_mod = graphOf("Mul", ["x", "x"]);
    const prob_mod = graphOf("Mul", ["x", "c"], {}, { c: f64(-2) });
    const got = list(flexAttention({ Q, K, V }, { score_mod, prob_mod }).Y);
    // √scale is taken in float32.
    const scale = Math.fround(Math.sqrt(Math.fround(1 / Math.sqrt(8)))) ** 2;
    const [q, k, v] = [Q, K, V].map(list);
    const wanted: number[] = [];
    for (let h = 0; h < 4; h++) {
      const g = Math.floor(h / 2);
      for (let i = 0; i < 3; i++) {
        const x = Array.from({ length: 5 }, (_, j) => {
          let s = 0;
          for (let d = 0; d < 8; d++) s += q[(h * 3 + i) * 8 + d] * k[(g * 5 + j) * 8 + d];
          return (s * scale) ** 2;
        });
        const l = x.reduce((sum, s) => sum + Math.exp(s), 0);
        for (let c = 0; c < 2; c++) {
          wanted.push(x.reduce((sum, s, j) => sum - 2 * Math.exp(s) / l * v[(g * 5 + j) * 2 + c], 0));
        }
      }
    }
    expectClose(got, wanted);
  });

  it("gives NaN where every score is −∞, and sees nothing of what a score of −∞ hides", () => {
    const score_mod = {
      ...graphOf("Where", ["m", "x", "no"]),
      initializers: {
        m: { dtype: "BOOL", shape: [1, 1, 3, 5], data: [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0] },
        no: f64("-Infinity"),
      },
    };
    const spoilt = { ...V, data: Float64Array.from(list(V), (x, n) => n % 10 >= 8 ? NaN : x) };
    const Y = list(flexAttention({ Q, K, V: spoilt }, { score_mod }).Y);
    Y.forEach((y, n) => expect(Number.isNaN(y)).toBe(Math.floor(n / 2) % 3 === 1));
  });

  it("goes through the implementation where there is no modifier", () => {
    const seen: unknown[] = [];
    const out = { data: new Float32Array(24), shape: [1, 4, 3, 2], dtype: "float32" as const };
    const implementation = (...call: unknown[]) => (seen.push(call[3]), { out });
    expect(list(flexAttention({ Q, K, V }, { scale: 0.25 }, { implementation }).Y)).toEqual(
      new Array(24).fill(0),
    );
    expect(seen).toMatchObject([{ scale: 0.25 }]);
    flexAttention({ Q, K, V }, { prob_mod: graphOf("Identity", ["x"]) }, { implementation });
    expect(seen.length).toBe(1);
  });

  it("refuses by name", () => {
    const run = (inputs: object, attributes: object) => () =>
      flexAttention({ Q, K, V, ...inputs }, attributes);
    expectThrow(run({ Q: tensor([3, 8]) }, {}), RangeError, "Q: expected [B,H,N,D] = [_,_,_,_], got [3,8]");
    expectThrow(
      run({ V: tensor([1, 2, 4, 2]) }, {}),
      RangeError,
      "V: expected [B,G,M,E] = [1,2,5,_], got [1,2,4,2]",
    );
    expectThrow(
      run({ K: tensor([1, 3, 5, 8]), V: tensor([1, 3, 5, 2]) }, {}),
      RangeError,
      "K: expected key/value heads G that divide H=4, got G=3",
    );
    expectThrow(
      run({ V: tensor([1, 2, 5, 2], "float32") }, {}),
      TypeError,
      "V: expected float64 like Q, got float32",
    );
    expectThrow(run({}, { score_mod: "x + 1" }), TypeError, 'score_mod: expected a graph, got "x + 1"');
    expectThrow(
      run({}, { mask_mod: {} }),
      TypeError,
      "mask_mod: no such attribute of FlexAttention; there are scale, softmax_precision, score_mod, prob_mod",
    );
    const casts = { inputs: ["x"], outputs: ["y"], nodes: [node("Cast", ["x"], "y", { to: 1 })] };
    expectThrow(
      run({}, { score_mod: casts }),
      RangeError,
      "score_mod.outputs: expected float64 [1,4,3,5], got float32 [1,4,3,5]",
    );
  });
});
