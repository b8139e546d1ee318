/**
 * Layouts → views with axes [b, h, i, d], and the lengths of each sequence.
 *
 *   bhnd   q [B,H,N,D]     k [B,G,M,D]     v [B,G,M,E]
 *   bnhd   q [B,N,H,D]     k [B,M,G,D]     v [B,M,G,E]
 *   thd    q [total,H,D]   k [total,G,D]   v [total,G,E]   sequence b: rows cuSeqlens[b] ≤ row < cuSeqlens[b + 1]
 */
import { describe, integer } from "./check.ts";
import { type TensorInput, type View, view } from "./tensor.ts";
import { sameShape, vector } from "./vector.ts";
import { FLOATS } from "./dtype.ts";
import type { AttentionOptions, Layout, Vector } from "./options.ts";
import type { Problem } from "./problem.ts";

export type Geometry = Pick<
  Problem,
  | ("B" | "H" | "G" | "N" | "M" | "D" | "E")
  | ("q" | "k" | "v" | "queryStart" | "keyStart" | "queries" | "keys" | "queryLength" | "keyLength")
>;

/** Of q, k and v. */
const AXES = {
  bhnd: ["BHND", "BGMD", "BGME"],
  bnhd: ["BNHD", "BMGD", "BMGE"],
  thd: [["total", "H", "D"], ["total", "G", "D"], ["total", "G", "E"]],
} as const;
export const LAYOUTS = Object.keys(AXES) as Layout[];

/** Lengths by letter. */
export type Axes = Partial<Record<string, number>>;

export function geometry(
  layout: Layout,
  inputs: readonly [q: TensorInput, k: TensorInput, v: TensorInput],
  { cuSeqlens }: AttentionOptions,
): Geometry {
  const packed = layout === "thd";
  if (!packed && cuSeqlens !== undefined) {
    throw new RangeError(`cuSeqlens: expected layout "thd", got "${layout}"`);
  }
  if (packed && (cuSeqlens === undefined || cuSeqlens === null)) {
    throw new TypeError(`cuSeqlens: expected {q, k} with layout "thd", got ${describe(cuSeqlens)}`);
  }
  const axes: Axes = {};
  const [qAxes, kAxes, vAxes] = AXES[layout];
  const q = withAxes("q", inputs[0], qAxes, axes);
  if (axes.D === 0) throw new RangeError("q: expected a head width D ≥ 1, got 0");
  const queries = axes.total ?? axes.N as number;
  // k has a total of its own.
  delete axes.total;
  const k = withAxes("k", inputs[1], kAxes, axes);
  const v = withAxes("v", inputs[2], vAxes, axes);
  const keys = axes.total ?? axes.M as number;
  const { H, G, D, E } = axes as Record<string, number>;

  const qStarts = cuSeqlens && cumulative("cuSeqlens.q", cuSeqlens.q, queries);
  const kStarts = cuSeqlens && cumulative("cuSeqlens.k", cuSeqlens.k, keys, qStarts?.length);
  const B = qStarts ? qStarts.length - 1 : axes.B as number;
  const [queryStart, queryLength] = sequences(qStarts, B, queries);
  const [keyStart, keyLength] = sequences(kStarts, B, keys);
  const N = packed ? queryLength.reduce((a, b) => Math.max(a, b), 0) : queries;
  const M = packed ? keyLength.reduce((a, b) => Math.max(a, b), 0) : keys;
  if (G === 0 ? H !== 0 : H % G !== 0) {
    throw new RangeError(`k: expected key/value heads G that divide H=${H}, got G=${G}`);
  }
  return {
    B,
    H,
    G,
    N,
    M,
    D,
    E,
    q: arranged(layout, q, B, N),
    k: arranged(layout, k, B, M),
    v: arranged(layout, v, B, M),
    queryStart,
    keyStart,
    queries,
    keys,
    queryLength,
    keyLength,
  };
}

/** Where each sequence starts, and how many rows it has. */
function sequences(starts: Float64Array | undefined, B: number, rows: number): [Int32Array, Int32Array] {
  const start = new Int32Array(B);
  const length = new Int32Array(B).fill(rows);
  if (starts) start.forEach((_, b) => length[b] = starts[b + 1] - (start[b] = starts[b]));
  return [start, length];
}

/** A letter an axis, or a word. */
export type AxisNames = string | readonly string[];

/** A tensor whose axes have the lengths that `axes` has for them; those it has not yet are added. */
export function withAxes(name: string, input: TensorInput, letters: AxisNames, axes: Axes): View {
  const source = floating(name, input);
  const { shape } = source;
  let fits = shape.length === letters.length;
  for (let x = 0; x < shape.length; x++) fits &&= (axes[letters[x]] ?? shape[x]) === shape[x];
  if (!fits) {
    const known = [...letters].filter((letter) => axes[letter] !== undefined);
    const lengths = known.map((letter, x) => `${x ? ", " : " with "}${letter}=${axes[letter]}`).join("");
    throw new RangeError(`${name}: expected [${[...letters]}]${lengths}, got [${shape}]`);
  }
  for (let x = 0; x < shape.length; x++) axes[letters[x]] = shape[x];
  return source;
}

/** As axes [b, h, i, d]; "thd" gives the batch axis stride 0: row i of sequence b is row start[b] + i. */
function arranged(layout: Layout, source: View, B: number, rows: number): View {
  if (layout === "bhnd") return source;
  const [heads, width] = source.shape.slice(-2);
  const [row, head, column] = source.strides.slice(-3);
  const batch = layout === "thd" ? 0 : source.strides[0];
  return { ...source, shape: [B, heads, rows, width], strides: [batch, head, row, column] };
}

/** Views of other tensors of the same shapes. */
export function replaceViews(problem: Problem, ...inputs: [q: TensorInput, k: TensorInput, v: TensorInput]) {
  const { layout, B, N, M, queries, keys } = problem;
  const [q, k, v] = (["q", "k", "v"] as const).map((name, x) => {
    const source = floating(name, inputs[x]);
    const total = x ? keys : queries;
    const shape = Array.from(AXES[layout][x], (axis) => axis === "total" ? total : problem[axis as "D"]);
    if (!sameShape(source.shape, shape)) {
      throw new RangeError(`${name}: expected [${shape}] as planned, got [${source.shape}]`);
    }
    return arranged(layout, source, B, x ? M : N);
  });
  return { q, k, v };
}

export function floating(name: string, input: TensorInput): View {
  const source = view(name, input);
  if (!FLOATS.includes(source.dtype)) {
    throw new TypeError(`${name}: expected a floating dtype, got ${source.dtype}`);
  }
  return source;
}

export function boolean(name: string, input: TensorInput): View {
  const source = view(name, input);
  if (source.dtype !== "bool") {
    throw new TypeError(
      `${name}: expected dtype "bool" (a Uint8Array with dtype: "bool"), got ${source.dtype}; an additive mask is \`bias\``,
    );
  }
  return source;
}

function cumulative(name: string, input: Vector, total: number, entries?: number): Float64Array {
  const values = vector(name, input, entries === undefined ? null : [[entries]], "[B+1]");
  if (values[0] !== 0) throw new RangeError(`${name}[0]: expected 0, got ${values[0]}`);
  for (let b = 1; b < values.length; b++) integer(name, values[b], values[b - 1], total, b);
  return values;
}
