/**
 * Merging states: attention over a union of keys from attention over its parts.
 *
 *   m = max_s lse_s     w_s = exp(lse_s − m)     out = Σ w_s·out_s / Σ w_s     lse = m + ln Σ w_s
 *
 * A state (out, lse) is the normalised output over some keys and their lse; (0, −∞) is the state of no key, the
 * identity. Exact arithmetic makes this associative and commutative; in floating point the order of the list is the
 * order of the sums. Where work is split, exactly one part gets the sink, and all parts have the lse of one base.
 *
 * Source: FlashInfer, recursive attention (its lse is base 2; here it is natural). out [B,H,N,E], lse [B,H,N], or
 * out [total,H,E] and lse [H,total]. S·(2·E + 3) flops a row for S states.
 */
import { createMerge, type MergeOptions, type State } from "../states.ts";
import { type FloatTensor, sizeOf, toFloat64 } from "../tensor.ts";
import { addScaled } from "./dot.ts";
import { log } from "./math.ts";
import { startOf, tensorOf } from "./outputs.ts";
import { expSum, LN2, LOG2E, rowMax } from "./row.ts";

/**
 * Merges states of the same queries over disjoint keys into the state over all of them.
 *
 * @param states At least one, all of one shape: `out` [B,H,N,E] (or as `layout` says) with `lse` [B,H,N].
 * @param options `layout`, `semantics` (base of lse, lse of an empty row), `out` (dtype; float64 unless told).
 * @returns `out` and `lse` over the union; a state whose lse is that of an empty row contributes nothing.
 * @throws {TypeError} A wrong kind of thing.
 * @throws {RangeError} No state, or shapes that differ.
 *
 * @example
 * ```ts
 * import { mergeStates } from "flashtile/reference";
 * const state = (out: number, lse: number) => ({
 *   out: { data: new Float64Array([out]), shape: [1, 1, 1, 1] },
 *   lse: { data: new Float64Array([lse]), shape: [1, 1, 1] },
 * });
 * const { out, lse } = mergeStates([state(1, 0), state(4, Math.log(2)), state(0, -Infinity)]);
 * console.log(out.data[0].toFixed(12), Math.exp(Number(lse.data[0])).toFixed(12)); // 3.000000000000 3.000000000000
 * ```
 */
export function mergeStates(
  states: readonly State[],
  options: MergeOptions = {},
): { readonly out: FloatTensor; readonly lse: FloatTensor } {
  const { B, H, N, E, outAt, lseAt, states: views, semantics, dtype } = createMerge(states, options);
  const outs = views.map((state) => toFloat64(state.out));
  const unit = semantics.lseBase === "2" ? LN2 : 1;
  const empty = semantics.emptyLse === "+inf" ? Infinity : -Infinity;
  const lses = views.map((state) => toFloat64(state.lse).map((s) => s === empty ? -Infinity : s * unit));
  const out = new Float64Array(sizeOf(outAt.shape));
  const lse = new Float64Array(sizeOf(lseAt.shape));

  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < N; i++) {
        const row = startOf(outAt, b, h, i);
        const one = startOf(lseAt, b, h, i);
        const x = Float64Array.from(lses, (s) => s[one]);
        const m = rowMax(x);
        if (m === -Infinity) {
          lse[one] = empty;
          continue;
        }
        const weights = x.slice();
        const sum = expSum(weights, m);
        weights.forEach((w, s) => {
          if (x[s] !== -Infinity) addScaled(out, row, w / sum, outs[s], row, E);
        });
        lse[one] = (m + log(sum)) * (semantics.lseBase === "2" ? LOG2E : 1);
      }
    }
  }
  return { out: tensorOf(out, outAt.shape, dtype), lse: tensorOf(lse, lseAt.shape) };
}
