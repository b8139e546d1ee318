/**
 * The door of merging: a list of states (out, lse) → one validated MergeProblem.
 *
 * A state is what attention returns: out in one of the layouts, lse [B,H,N], or [H,total] with "thd".
 */
import { describe, expectRecord, oneOf } from "./check.ts";
import type { TensorInput, View } from "./tensor.ts";
import { type DType, FLOATS } from "./dtype.ts";
import { type Axes, LAYOUTS, withAxes } from "./geometry.ts";
import type { AttentionOptions, Layout } from "./options.ts";
import { resolveSemantics } from "./problem.ts";
import { placeLse, type Placement, placeOut } from "./result.ts";
import type { Semantics } from "./semantics.ts";

/** Attention over some of the keys. */
export interface State {
  readonly out: TensorInput;
  readonly lse: TensorInput;
}

/** How states are read and what comes out. */
export interface MergeOptions {
  /** Of out: "bhnd" unless told. */
  readonly layout?: Layout;
  /** Says the base of lse and what an empty row's is. */
  readonly semantics?: NonNullable<AttentionOptions["semantics"]>;
  /** dtype of the merged out. */
  readonly out?: DType;
}

export interface MergeProblem {
  readonly B: number;
  readonly H: number;
  /** Rows of a head; all rows with "thd". */
  readonly N: number;
  readonly E: number;
  readonly outAt: Placement;
  readonly lseAt: Placement;
  readonly states: readonly { readonly out: View; readonly lse: View }[];
  readonly semantics: Semantics;
  readonly dtype: DType | null;
}

/** @throws TypeError for a wrong kind, RangeError for a wrong value or shape; the message starts with the name. */
export function createMerge(states: readonly State[], options: MergeOptions = {}): MergeProblem {
  if (!Array.isArray(states)) throw new TypeError(`states: expected an array, got ${describe(states)}`);
  if (states.length === 0) throw new RangeError("states: expected at least one, got none");
  const layout = oneOf("layout", options.layout ?? "bhnd", LAYOUTS);
  const outAxes = { bhnd: "BHNE", bnhd: "BNHE", thd: ["total", "H", "E"] }[layout];
  const lseAxes = layout === "thd" ? ["H", "total"] : "BHN";
  const axes: Axes = {};
  const views = states.map((state: State, s) => {
    expectRecord(`states[${s}]`, state, "{out, lse}");
    return {
      out: withAxes(`states[${s}].out`, state.out, outAxes, axes),
      lse: withAxes(`states[${s}].lse`, state.lse, lseAxes, axes),
    };
  });
  const { B = 1, H, E, total, N = total } = axes as Record<string, number>;
  const rows = { B, H, N, E, layout, queryStart: new Int32Array(B), queries: N };
  return {
    B,
    H,
    N,
    E,
    outAt: placeOut(rows),
    lseAt: placeLse(rows),
    states: views,
    semantics: resolveSemantics(options.semantics),
    dtype: options.out === undefined ? null : oneOf("out", options.out, FLOATS),
  };
}
