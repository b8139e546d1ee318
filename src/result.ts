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

export function placeDq({ B, H, N, D, layout, queryStart, queries }: Problem): Placement {
  return place(layout, [B, H, N, D], queryStart, queries);
}

export function placeDk({ B, G, M, D, layout, keyStart, keys }: Problem): Placement {
  return place(layout, [B, G, M, D], keyStart, keys);
}

export function placeDv({ B, G, M, E, layout, keyStart, keys }: Problem): Placement {
  return place(layout, [B, G, M, E], keyStart, keys);
}

/** lse and dLse. */
export function placeLse({ B, H, N, layout, queryStart, queries }: Rows): Placement {
  if (layout !== "thd") return { shape: [B, H, N], base: every(B, H * N), head: N, row: 1 };
  return { shape: [H, queries], base: Float64Array.from(queryStart), head: queries, row: 1 };
}

function place(
  layout: Problem["layout"],
  [B, heads, rows, width]: [number, number, number, number],
  start: Int32Array,
  total: number,
): Placement {
  const token = heads * width;
  switch (layout) {
    case "bhnd":
      return { shape: [B, heads, rows, width], base: every(B, rows * token), head: rows * width, row: width };
    case "bnhd":
      return { shape: [B, rows, heads, width], base: every(B, rows * token), head: width, row: token };
    case "thd":
      return {
        shape: [total, heads, width],
        base: Float64Array.from(start, (row) => row * token),
        head: width,
        row: token,
      };
  }
}

function every(B: number, step: number): Float64Array {
  const base = new Float64Array(B);
  for (let b = 1; b < B; b++) base[b] = b * step;
  return base;
}
