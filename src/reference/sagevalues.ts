/**
 * V of a quantised pipeline: v_je ≈ code_je·unit_e (+ v̄_e), one unit a channel, or one a channel and tile of keys.
 *
 *   fp8     code = E4M3(v′/unit), unit = amax/R, R = 448, or 2.25 where 64 products are summed in float16:
 *           64·448·2.25 = 64512 < 65504
 *   ints    code = round(v′/unit), unit = amax/L, L as in `valueLimits`
 *   fp16    code = float16(v′), unit = 1
 *   fp4     NVFP4, groups of 16 keys: the numbers themselves, unit = 1
 */
import { E4M3, E5M2 } from "../codecs.ts";
import { roundFloat16 } from "../dtype.ts";
import { valueLimits } from "../limits.ts";
import { type Recipe, TILE, type ValueType } from "../precision.ts";
import { groupsOfTiles } from "./groups.ts";
import { floats, type Grid, integers, nvfp4, quantise } from "./quantise.ts";
import { numbers } from "./sagescores.ts";
import { smoothRows } from "./smooth.ts";

export interface QuantisedValues {
  /** What is multiplied by codes of P, [M,E]; NaN and ∞ are what V holds. */
  readonly codes: Float64Array;
  /** Unit of channel e: units[e], or units[⌊j/64⌋·E + e] if `tiled`. */
  readonly units: Float64Array;
  readonly tiled: boolean;
  /** Scale of an element: its unit, but for NVFP4, whose codes have it in them. */
  scaleAt(j: number, e: number): number;
  /** v̄ [E]; null without smoothing. */
  readonly mean: Float64Array | null;
  /** V − v̄; whether an element of it is quantised; what was done to it (docs/error-bounds.md). */
  readonly smooth: Float64Array;
  readonly counts: (j: number, e: number) => boolean;
  readonly grid: Grid;
}

export function quantiseValues(
  V: Float64Array,
  M: number,
  E: number,
  seen: Uint8Array,
  recipe: Recipe,
): QuantisedValues {
  const { pv, smoothV, vScale } = recipe;
  const smooth = V.slice(0, M * E);
  if (pv !== "float32" || smoothV) smooth.forEach((v, at) => smooth[at] = Math.fround(v));
  const counts = (j: number, e: number) => seen[j] === 1 && Number.isFinite(smooth[j * E + e]);
  const mean = smoothV ? smoothRows(smooth, E, 0, M, counts) : null;
  const grid = gridOf(recipe);
  const own = { smooth, mean, counts, grid, tiled: false, units: new Float64Array(E).fill(1) };
  if (grid === plain) return { ...own, codes: smooth, scaleAt: () => 1 };
  const scaled = grid !== nvfp4;
  const tiled = vScale === "tile" && scaled;
  const groups = scaled ? groupsOfTiles(M, E, tiled ? TILE : Math.max(M, 1), 1) : groupsOfTiles(M, E, 16, 1);
  const quantised = quantise(smooth, E, grid, groups, counts);
  const codes = scaled ? quantised.codes : numbers(quantised, E);
  smooth.forEach((v, at) => {
    if (!Number.isFinite(v)) codes[at] = V[at];
  });
  const { scales, scaleAt } = quantised;
  return { ...own, codes, scaleAt, ...(scaled && { units: scales, tiled }) };
}

function gridOf({ pv, rounding, accumulator }: Recipe): Grid {
  const e4m3 = floats(E4M3, accumulator === "fp32+fp16" ? 2.25 : E4M3.max);
  const grids: Partial<Record<ValueType, Grid>> = {
    float32: plain,
    "float32/fp8": e4m3,
    fp16: halves,
    fp8: e4m3,
    fp8e5m2: floats(E5M2),
    fp4: nvfp4,
  };
  return grids[pv] ?? integers(valueLimits[pv as keyof typeof valueLimits].v, rounding);
}

/** Not quantised. */
const plain: Grid = { top: 1, scale: () => 1, code: (x) => x };

/** float16, without a scale. */
const halves: Grid = { ...plain, code: roundFloat16 };
