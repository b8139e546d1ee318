/** How far a code can be from what it stands for (docs/error-bounds.md §10): of the grids of src/reference/quantise.ts. */
import { E2M1, E4M3, E5M2, type MiniFloat } from "../codecs.ts";
import type { ScoreType, ValueType } from "../precision.ts";

/** Roundoff of float32. */
const U = 2 ** -24;

/** Bounds |x − code·scale| for a float32 x, and codes of this type that reach up to `top`. */
export function codeError(type: ScoreType | ValueType, top: number): (x: number, scale: number) => number {
  switch (type) {
    case "float32":
      return () => 0;
    case "fp16":
      return (x) => Math.abs(x) < 65520 ? Math.max(Math.abs(x) * 2 ** -11, 2 ** -25) : Infinity;
    case "fp8":
    case "float32/fp8":
      return floatError(E4M3);
    case "fp8e5m2":
      return floatError(E5M2);
    case "fp4":
      return nvfp4Error;
    default:
      // Half a step; and scale, reciprocal, product and ±0.5 are each off by u of at most `top` steps.
      return (_, s) => s * (0.5 + 8 * U * top);
  }
}

function floatError({ mantissaBits, numbers }: MiniFloat): (x: number, scale: number) => number {
  const u = 2 ** -(mantissaBits + 1);
  return (x, s) => Math.max(u * Math.abs(x), s * numbers[1] / 2) + 4 * U * Math.abs(x);
}

function nvfp4Error(x: number, s: number): number {
  const a = Math.abs(x);
  // Numbers are ½ apart up to 2, 1 up to 4, 2 up to 6: half of that, or a quarter of x. Beyond 6 it saturates.
  return Math.max(Math.min(a, Math.max(s, a) / 4), a - E2M1.max * s) + 8 * U * a;
}
