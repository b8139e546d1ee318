/** The tensors a forward pass fills, and where each row of them lies. */
import type { DType } from "../dtype.ts";
import type { Problem } from "../problem.ts";
import { type AttentionResult, placeLse, type Placement, placeOut } from "../result.ts";
import { type FloatTensor, fromFloat64, sizeOf } from "../tensor.ts";
import { addScaled } from "./dot.ts";
import type { Head } from "./heads.ts";
import { addSink, logSumExp, reportedLse, type RowState, sinkOf } from "./row.ts";

export interface Outputs {
  /**
   * Row i, from the state of its keys: `fill` writes O_i into zeros, and P if it is kept, given the state with the sink;
   * it isn't asked where there is no key and no sink.
   */
  store(
    head: Head,
    i: number,
    keys: RowState,
    fill: (out: Float64Array, all: RowState) => void,
    P?: Float64Array,
  ): void;
  finish(): AttentionResult;
}

export function outputs(problem: Problem): Outputs {
  const { B, H, N, M, E, want, layout, semantics } = problem;
  const outAt = placeOut(problem);
  const lseAt = placeLse(problem);
  const out = new Float64Array(sizeOf(outAt.shape));
  const lse = new Float64Array(want.lse ? sizeOf(lseAt.shape) : 0);
  const probabilities = new Float64Array(want.probabilities ? B * H * N * M : 0);
  // Packed rows that belong to no sequence see no key.
  if (layout === "thd") lse.fill(semantics.emptyLse === "+inf" ? Infinity : -Infinity);
  return {
    store(head, i, keys, fill, P) {
      const { b, h } = head;
      const all = addSink(keys, sinkOf(head));
      if (want.lse) {
        const counted = semantics.lseIncludesSink ? all : keys;
        lse[startOf(lseAt, b, h, i)] = reportedLse(head, i, logSumExp(counted));
      }
      const start = startOf(outAt, b, h, i);
      const row = out.subarray(start, start + E);
      if (all.m === -Infinity) fillEmptyRow(head, row, P);
      else fill(row, all);
      if (P && want.probabilities) probabilities.set(P, ((b * H + h) * N + i) * M);
    },
    finish() {
      return {
        out: tensorOf(out, outAt.shape, want.out),
        ...(want.lse && { lse: tensorOf(lse, lseAt.shape) }),
        ...(want.probabilities && { probabilities: tensorOf(probabilities, [B, H, N, M]) }),
      };
    },
  };
}

/** Where row i of (b, h) starts. */
export function startOf({ base, head, row }: Placement, b: number, h: number, i: number): number {
  return base[b] + h * head + i * row;
}

/** A result: float64 unless told. */
export function tensorOf(values: Float64Array, shape: readonly number[], dtype?: DType | null): FloatTensor {
  const type = dtype ?? "float64";
  return { data: fromFloat64(values, type), shape: [...shape], dtype: type };
}

/** O of a row without a key, and P if it is kept. */
function fillEmptyRow({ problem, V, stored }: Head, out: Float64Array, P?: Float64Array): void {
  const { E, semantics: { emptyRow } } = problem;
  if (emptyRow === "nan") {
    P?.fill(NaN);
    out.fill(NaN);
  }
  if (emptyRow === "mean") {
    // A finite filler swallows every score: all keys weigh the same, those behind the key length too.
    P?.fill(1 / stored, 0, stored);
    for (let j = 0; j < stored; j++) addScaled(out, 0, 1 / stored, V, j * E, E);
  }
}
