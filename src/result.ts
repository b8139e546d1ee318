/**
 * Where results go: the shape and strides of out, lse and gradients for each layout.
 *
 *   layout   out            lse        dq             dk             dv             element (b, h, i)
 *   bhnd     [B,H,N,E]      [B,H,N]    [B,H,N,D]      [B,G,M,D]      [B,G,M,E]
 *   bnhd     [B,N,H,E]      [B,H,N]    [B,N,H,D]      [B,M,G,D]      [B,M,G,E]
 *   thd      [total,H,E]    [H,total]  [total,H,D]    [total,G,D]    [total,G,E]    row start[b] + i
 */
import type { Problem } from "./problem.ts";
import type { FloatTensor } from "./tensor.ts";

/** What attention returns: `lse` and `probabilities` if asked for. */
export interface AttentionResult {
  readonly out: FloatTensor;
  readonly lse?: FloatTensor;
  readonly probabilities?: FloatTensor;
}

/** Gradients, each shaped like what it belongs to: `dBias` if there is a bias, `dSink` if there is a sink. */
export interface Gradients {
  readonly dq: FloatTensor;
  readonly dk: FloatTensor;
  readonly dv: FloatTensor;
  readonly dBias?: FloatTensor;
  readonly dSink?: FloatTensor;
}

/** Element (b, h, i) starts at base[b] + h·head + i·row; the columns follow one another. */
export interface Placement {
  readonly shape: number[];
  readonly base: Float64Array;
  readonly head: number;
  readonly row: number;
}

type Rows = Pick<Problem, "B" | "H" | "N" | "layout" | "queryStart" | "queries">;

/** out and dOut. */
export function placeOut({ B, H, N, E, layout, queryStart, queries }: Rows & Pick<Problem, "E">): Placement {
  return place(layout, [B, H, N, E], queryStart, queries);
}

/** dq, dk and dv. */
export function placeGradients(problem: Problem): Record<"q" | "k" | "v", Placement> {
  const { B, H, G, N, M, D, E, layout, queryStart, keyStart, queries, keys } = problem;
  return {
    q: place(layout, [B, H, N, D], queryStart, queries),
    k: place(layout, [B, G, M, D], keyStart, keys),
    v: place(layout, [B, G, M, E], keyStart, keys),
  };
}

/** lse and dLse. */
export function placeLse({ B, H, N, layout, queryStart, queries }: Rows): Placement {
  const packed = layout === "thd";
  return {
    shape: packed ? [H, queries] : [B, H, N],
    base: bases(packed, queryStart, 1, H * N),
    head: packed ? queries : N,
    row: 1,
  };
}

function place(
  layout: Problem["layout"],
  [B, heads, rows, width]: [number, number, number, number],
  start: Int32Array,
  total: number,
): Placement {
  const packed = layout === "thd";
  const token = heads * width;
  const base = bases(packed, start, token, rows * token);
  if (layout === "bhnd") return { shape: [B, heads, rows, width], base, head: rows * width, row: width };
  const shape = packed ? [total, heads, width] : [B, rows, heads, width];
  return { shape, base, head: width, row: token };
}

/** Where each batch starts: its first row, packed, or all as far apart. */
function bases(packed: boolean, start: Int32Array, row: number, batch: number): Float64Array {
  const base = new Float64Array(start.length);
  for (let b = 0; b < base.length; b++) base[b] = packed ? start[b] * row : b * batch;
  return base;
}
