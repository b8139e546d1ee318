/** The tensors a forward pass fills, and where each row of them lies. */
import type { Problem } from "../problem.ts";
import { type AttentionResult, placeLse, placeOut } from "../result.ts";
import { fromFloat64, sizeOf } from "../tensor.ts";
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
        lse[lseAt.base[b] + h * lseAt.head + i * lseAt.row] = reportedLse(
          head,
          i,
          logSumExp(keys),
          logSumExp(all),
        );
      }
      const start = outAt.base[b] + h * outAt.head + i * outAt.row;
      const row = out.subarray(start, start + E);
      if (all.m === -Infinity) fillEmptyRow(head, row, P);
      else fill(row, all);
      if (P && want.probabilities) probabilities.set(P, ((b * H + h) * N + i) * M);
    },
    finish() {
      const dtype = want.out ?? "float64";
      return {
        out: { data: fromFloat64(out, dtype), shape: outAt.shape, dtype },
        ...(want.lse && { lse: { data: lse, shape: lseAt.shape, dtype: "float64" } }),
        ...(want.probabilities && {
          probabilities: { data: probabilities, shape: [B, H, N, M], dtype: "float64" },
        }),
      };
    },
  };
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
