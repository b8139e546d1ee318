/**
 * Layouts → views with axes [b, h, i, d], and the lengths of each sequence.
 *
 *   bhnd   q [B,H,N,D]     k [B,G,M,D]     v [B,G,M,E]
 *   bnhd   q [B,N,H,D]     k [B,M,G,D]     v [B,M,G,E]
 *   thd    q [total,H,D]   k [total,G,D]   v [total,G,E]   sequence b: rows cuSeqlens[b] ≤ row < cuSeqlens[b + 1]
 */
import { MAX_LENGTH, vector } from "./check.ts";
import type { AttentionOptions, Vector } from "./options.ts";
import type { Problem } from "./problem.ts";
import { describe, integers, permute, type TensorInput, type View, view } from "./tensor.ts";

export type Geometry = Pick<
  Problem,
  | ("B" | "H" | "G" | "N" | "M" | "D" | "E")
  | ("q" | "k" | "v" | "queryStart" | "keyStart" | "queries" | "keys" | "queryLength" | "keyLength")
>;

export function dense(
  layout: "bhnd" | "bnhd",
  qInput: TensorInput,
  kInput: TensorInput,
  vInput: TensorInput,
  options: AttentionOptions,
): Geometry {
  if (options.cuSeqlens !== undefined) {
    throw new RangeError(`cuSeqlens: expected layout "thd", got "${layout}"`);
  }
  const [qName, kName, vName] = layout === "bhnd"
    ? ["[B,H,N,D]", "[B,G,M,D]", "[B,G,M,E]"]
    : ["[B,N,H,D]", "[B,M,G,D]", "[B,M,G,E]"];
  const axes = layout === "bhnd" ? [0, 1, 2, 3] : [0, 2, 1, 3];
  const headed = (name: string, input: TensorInput, letters: string) => {
    const source = ranked(name, floating(name, input), 4, letters);
    return layout === "bhnd" ? source : permute(source, axes);
  };
  const q = headed("q", qInput, qName);
  const k = headed("k", kInput, kName);
  const v = headed("v", vInput, vName);
  const [B, H, N, D] = q.shape;
  const [, G, M] = k.shape;
  const E = v.shape[3];
  checkWidth(D);
  if (k.shape[0] !== B || k.shape[3] !== D) {
    throw new RangeError(`k: expected ${kName} with B=${B}, D=${D}, got [${unpermute(k.shape, axes)}]`);
  }
  if (v.shape[0] !== B || v.shape[1] !== G || v.shape[2] !== M) {
    throw new RangeError(
      `v: expected ${vName} with B=${B}, G=${G}, M=${M}, got [${unpermute(v.shape, axes)}]`,
    );
  }
  checkGeometry(H, G, N, M);
  return {
    B,
    H,
    G,
    N,
    M,
    D,
    E,
    q,
    k,
    v,
    queryStart: new Int32Array(B),
    keyStart: new Int32Array(B),
    queries: N,
    keys: M,
    queryLength: new Int32Array(B).fill(N),
    keyLength: new Int32Array(B).fill(M),
  };
}

export function packed(
  qInput: TensorInput,
  kInput: TensorInput,
  vInput: TensorInput,
  options: AttentionOptions,
): Geometry {
  if (options.cuSeqlens === undefined || options.cuSeqlens === null) {
    throw new TypeError(`cuSeqlens: expected {q, k} with layout "thd", got ${describe(options.cuSeqlens)}`);
  }
  const q = ranked("q", floating("q", qInput), 3, "[total,H,D]");
  const k = ranked("k", floating("k", kInput), 3, "[total,G,D]");
  const v = ranked("v", floating("v", vInput), 3, "[total,G,E]");
  const [queries, H, D] = q.shape;
  const [keys, G] = k.shape;
  const E = v.shape[2];
  checkWidth(D);
  if (k.shape[2] !== D) throw new RangeError(`k: expected [total,G,D] with D=${D}, got [${k.shape}]`);
  if (v.shape[0] !== keys || v.shape[1] !== G) {
    throw new RangeError(`v: expected [total,G,E] with total=${keys}, G=${G}, got [${v.shape}]`);
  }
  const cuQ = cumulative("cuSeqlens.q", options.cuSeqlens.q, queries);
  const cuK = cumulative("cuSeqlens.k", options.cuSeqlens.k, keys);
  const B = cuQ.length - 1;
  if (cuK.length !== B + 1) {
    throw new RangeError(`cuSeqlens.k: expected ${B + 1} entries like cuSeqlens.q, got ${cuK.length}`);
  }
  const queryLength = Int32Array.from({ length: B }, (_, b) => cuQ[b + 1] - cuQ[b]);
  const keyLength = Int32Array.from({ length: B }, (_, b) => cuK[b + 1] - cuK[b]);
  const N = queryLength.reduce((a, b) => Math.max(a, b), 0);
  const M = keyLength.reduce((a, b) => Math.max(a, b), 0);
  checkGeometry(H, G, N, M);
  return {
    B,
    H,
    G,
    N,
    M,
    D,
    E,
    q: sequenceView(q, B, N),
    k: sequenceView(k, B, M),
    v: sequenceView(v, B, M),
    queryStart: Int32Array.from(cuQ.slice(0, B)),
    keyStart: Int32Array.from(cuK.slice(0, B)),
    queries,
    keys,
    queryLength,
    keyLength,
  };
}

/** Views of other tensors of the same shapes. */
export function replaceViews(
  { layout, B, H, G, N, M, D, E, queries, keys }: Problem,
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
): { q: View; k: View; v: View } {
  const replace = (
    name: string,
    input: TensorInput,
    heads: number,
    rows: number,
    width: number,
    total: number,
  ) => {
    const source = floating(name, input);
    const shape = layout === "bhnd"
      ? [B, heads, rows, width]
      : layout === "bnhd"
      ? [B, rows, heads, width]
      : [total, heads, width];
    if (source.shape.length !== shape.length || shape.some((n, axis) => n !== source.shape[axis])) {
      throw new RangeError(`${name}: expected [${shape}] as planned, got [${source.shape}]`);
    }
    if (layout === "thd") return sequenceView(source, B, rows);
    return layout === "bnhd" ? permute(source, [0, 2, 1, 3]) : source;
  };
  return {
    q: replace("q", q, H, N, D, queries),
    k: replace("k", k, G, M, D, keys),
    v: replace("v", v, G, M, E, keys),
  };
}

/** [total, h, d] → axes [b, h, i, d] whose batch axis has stride 0: row i of sequence b is row start[b] + i. */
function sequenceView(source: View, B: number, rows: number): View {
  const [, heads, width] = source.shape;
  const [row, head, column] = source.strides;
  return { ...source, shape: [B, heads, rows, width], strides: [0, head, row, column] };
}

function checkWidth(D: number): void {
  if (D === 0) throw new RangeError("q: expected a head width D ≥ 1, got 0");
}

function checkGeometry(H: number, G: number, N: number, M: number): void {
  if (G === 0 ? H !== 0 : H % G !== 0) {
    throw new RangeError(`k: expected key/value heads G that divide H=${H}, got G=${G}`);
  }
  if (N > MAX_LENGTH || M > MAX_LENGTH) {
    throw new RangeError(`q: expected at most 2^30 queries and keys, got N=${N}, M=${M}`);
  }
}

function unpermute(shape: readonly number[], axes: readonly number[]): number[] {
  return axes.map((_, axis) => shape[axes.indexOf(axis)]);
}

function ranked(name: string, source: View, rank: number, letters: string): View {
  if (source.shape.length !== rank) {
    throw new RangeError(`${name}: expected ${letters}, got [${source.shape}]`);
  }
  return source;
}

export function floating(name: string, input: TensorInput): View {
  const source = view(name, input);
  if (!["float64", "float32", "float16", "bfloat16"].includes(source.dtype)) {
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

function cumulative(name: string, input: Vector, total: number): number[] {
  const length = input !== null && typeof input === "object"
    ? "data" in input ? (input.shape ?? input.dims)?.[0] : (input as ArrayLike<number>).length
    : undefined;
  const values = integers(name, vector(name, input, [[length ?? 0]], "[B+1]"));
  if (values.length < 1 || values[0] !== 0) throw new RangeError(`${name}[0]: expected 0, got ${values[0]}`);
  for (let b = 1; b < values.length; b++) {
    if (values[b] < values[b - 1]) {
      throw new RangeError(`${name}[${b}]: expected at least ${values[b - 1]}, got ${values[b]}`);
    }
  }
  const last = values[values.length - 1];
  if (last > total) {
    throw new RangeError(`${name}[${values.length - 1}]: expected at most ${total} rows, got ${last}`);
  }
  return values;
}
