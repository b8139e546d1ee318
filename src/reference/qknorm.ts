/**
 * QK-norm and rotary embedding on tensors, what models do to q and k before attention.
 *
 *   qkNorm        y = x / √(mean(x²) + eps) · w    over the last axis, a head's width      rmsnorm.ts
 *   applyRotary   pairs (d, d + R/2), or (2d, 2d + 1) if interleaved, turned by the angle of their token's position;
 *                 dims from R on pass                                                     rotary.ts
 *
 * Sources: Henry et al., Query-Key Normalization (arXiv 2010.04245), with the RMSNorm of Qwen 3, Gemma 3 and OLMo 2;
 * Su et al., RoFormer (arXiv 2104.09864), eq. 34. About 4 flops an element each.
 */
import { atLeastZero } from "../check.ts";
import { type FloatTensor, type TensorInput, toFloat64 } from "../tensor.ts";
import { vector } from "../vector.ts";
import { floating } from "../geometry.ts";
import type { Vector } from "../options.ts";
import { createRotary, type RotaryTables } from "../rotary.ts";
import { tensorOf } from "./outputs.ts";
import { rmsnorm } from "./rmsnorm.ts";
import { turn } from "./rotary.ts";

export type { RotaryTables };

/**
 * Root-mean-square normalisation of every head.
 *
 * @param x [..., D].
 * @param weight [D]; ones unless given.
 * @param options `eps`, 1e-6 unless told.
 * @returns float64, shaped like x.
 * @throws {TypeError} A wrong kind of thing.
 * @throws {RangeError} A wrong value or shape.
 *
 * @example
 * ```ts
 * import { qkNorm } from "flashtile/reference";
 * const q = { data: new Float32Array([3, 4]), shape: [1, 1, 1, 2] };
 * console.log(Array.from(qkNorm(q, [1, 2], { eps: 0.5 }).data, (x) => x.toFixed(4))); // [ '0.8321', '2.2188' ]
 * ```
 */
export function qkNorm(
  x: TensorInput,
  weight?: Vector,
  options: { readonly eps?: number } = {},
): FloatTensor {
  const source = floating("x", x);
  const { shape } = source;
  if (shape.length === 0) throw new RangeError("x: expected [..., D], got []");
  const dim = shape[shape.length - 1];
  const w = weight === undefined ? new Float64Array(dim).fill(1) : vector("weight", weight, [[dim]], "[D]");
  const eps = atLeastZero("eps", options.eps === undefined ? 1e-6 : options.eps);
  const values = toFloat64(source);
  const y = rmsnorm(values, w, { rows: values.length / (dim || 1), dim, eps });
  return tensorOf(y, shape);
}

/**
 * Rotary position embedding.
 *
 * @param x [B,H,N,D], or [B,N,H,D] with layout "bnhd".
 * @param tables `cos`, `sin`, `positions`, `interleaved`, `layout`.
 * @returns float64, shaped like x.
 * @throws {TypeError} A wrong kind of thing.
 * @throws {RangeError} A wrong value or shape, or a position that the tables don't have.
 *
 * @example
 * ```ts
 * import { applyRotary } from "flashtile/reference";
 * const x = { data: new Float32Array([1, 2]), shape: [1, 1, 1, 2] };
 * const cos = { data: new Float32Array([0]), shape: [1, 1] };
 * const sin = { data: new Float32Array([1]), shape: [1, 1] };
 * console.log(Array.from(applyRotary(x, { cos, sin }).data)); // [ -2, 1 ]
 * ```
 */
export function applyRotary(x: TensorInput, tables: RotaryTables): FloatTensor {
  const problem = createRotary(x, tables);
  const { B, H, N, D, layout, half, positions, interleaved } = problem;
  const [data, cos, sin] = [problem.x, problem.cos, problem.sin].map(toFloat64);
  for (let b = 0; b < B; b++) {
    for (let i = 0; i < N; i++) {
      for (let h = 0; h < H; h++) {
        const row = layout === "bhnd" ? (b * H + h) * N + i : (b * N + i) * H + h;
        turn(data, row * D, cos, sin, positions[b * N + i], half, interleaved);
      }
    }
  }
  return tensorOf(data, problem.x.shape);
}
