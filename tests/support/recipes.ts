/** Recipes of quantisation, any of them, and data that they find hard. */
import fc from "fast-check";
import { type Recipe, sage, type SageOptions } from "../../src/precision.ts";
import type { Made } from "./tensors.ts";

const granularity = fc.constantFrom("tensor", "block", "warp", "thread", "token" as const);

/** Any recipe, with blocks small enough that short sequences have several. */
export const anyRecipe: fc.Arbitrary<Recipe> = fc.record({
  qk: fc.constantFrom("float32", "int16", "int12", "int8", "int4", "fp4" as const),
  granularity: fc.record({ q: granularity, k: granularity }),
  rounding: fc.constantFrom("half-away", "half-even" as const),
  smoothK: fc.boolean(),
  smoothQ: fc.constantFrom<Recipe["smoothQ"][]>(false, "block", "head"),
  smoothV: fc.boolean(),
  pv: fc.constantFrom(
    ...["float32", "float32/fp8", "fp16", "fp8", "fp8e5m2", "int16", "int12", "int8", "fp4"] as const,
  ),
  pScale: fc.constantFrom("row", "tile" as const),
  vScale: fc.constantFrom("head", "tile" as const),
  accumulator: fc.constantFrom("float32", "fp22", "fp16", "fp32+fp32", "fp32+fp16" as const),
  blockQ: fc.constantFrom(8, 16, 128),
  blockK: fc.constantFrom(8, 64),
  warpQ: fc.constantFrom(8, 16, 32),
}).map((options: SageOptions) => {
  try {
    return sage(options);
  } catch {
    // Not every accumulator goes with every type.
    const { accumulator: _, ...rest } = options;
    return sage({ ...rest, pScale: "row", vScale: "head" });
  }
});

/** Adds to each channel of x [.., columns] a constant of about `bias`, the same for all rows. */
export function biased(x: Made, bias: number): Made {
  const columns = x.shape[x.shape.length - 1];
  const data = x.data.slice();
  for (let at = 0; at < data.length; at++) {
    const d = at % columns;
    data[at] += bias * ((d * 7 + 3) % 11 - 5) / 5;
  }
  return { data, shape: x.shape };
}

/** Cubes of x: tails as heavy as attention's outlier tokens have. */
export function heavyTailed(x: Made): Made {
  return { data: x.data.map((value) => value * value * value), shape: x.shape };
}
