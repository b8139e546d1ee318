/**
 * ONNX RotaryEmbedding, opset 23: pairs (x1, x2) of each head turned by the angle of their position,
 *
 *   y1 = cos·x1 − sin·x2      y2 = sin·x1 + cos·x2
 *
 * Source: onnx/defs/nn/defs.cc. A pair is (d, d + R/2), or (2d, 2d + 1) if interleaved, d < R/2; the dims from R on
 * pass unchanged. X [B,H,N,D] or [B,N,H·D]; caches [positions, R/2] picked by position_ids [B,N], else [B,N,R/2].
 * 6 flops a pair.
 */
import type { RotaryTables } from "../rotary.ts";
import {
  type FloatTensor,
  integers,
  permute,
  type TensorInput,
  toFloat64,
  type View,
  view,
} from "../tensor.ts";
import { type Arithmetic, EXACT, KERNELS, others, to } from "./evaluations.ts";
import { splitHeads } from "./heads.ts";
import {
  checkDType,
  checkShape,
  createNode,
  flag,
  floating,
  type Inputs,
  type Node,
  type NodeOptions,
  number,
  type Operator,
  type Range,
  stored,
} from "./node.ts";
import { emptyRange, isExact, mapRange } from "./steps.ts";

/** Inputs of RotaryEmbedding. */
export interface RotaryEmbeddingInputs {
  /** [B,H,N,D] or [B,N,H·D]. */
  readonly X: TensorInput;
  /** [positions, R/2] with position_ids, else [B,N,R/2]. */
  readonly cos_cache: TensorInput;
  readonly sin_cache: TensorInput;
  /** [B,N], int64. */
  readonly position_ids?: TensorInput | undefined;
}

/** Attributes of RotaryEmbedding, as the specification spells them. */
export interface RotaryEmbeddingAttributes {
  /** Pairs (2d, 2d + 1) in place of (d, d + R/2). */
  readonly interleaved?: number | boolean;
  /** R, the dims that turn; 0, which is the default, is all. */
  readonly rotary_embedding_dim?: number;
  /** H of three-dimensional inputs. */
  readonly num_heads?: number;
}

export const ROTARY_EMBEDDING: Operator = {
  name: "RotaryEmbedding",
  domain: "",
  since: 23,
  newest: 23,
  inputs: ["X", "cos_cache", "sin_cache", "position_ids"],
  required: 3,
  outputs: ["Y"],
  attributes: { interleaved: "int", rotary_embedding_dim: "int", num_heads: "int" },
  evaluate(node) {
    const { shape, dtype } = floating(node, "X");
    const { applyRotary } = node.implementation;
    if (!applyRotary || dtype === "float64") {
      return { Y: { values: turn(node, EXACT).lo, shape, dtype, problem: null, by: "operator" } };
    }
    const Y = applyRotary(...kernelCall(node));
    return {
      Y: {
        values: toFloat64(view("Y", Y)),
        ...{ shape, dtype, problem: null, by: "implementation" },
        own: () => turn(node, KERNELS),
      },
    };
  },
  enclose(node) {
    const { dtype } = floating(node, "X");
    const { down, up } = to(dtype);
    return others(null, dtype, "dtype").map(({ output }) => ({ Y: mapRange(turn(node, output), down, up) }));
  },
};

/**
 * ONNX's RotaryEmbedding operator.
 *
 * @param inputs Tensors by their ONNX names.
 * @param attributes Attributes by their ONNX names.
 * @returns `Y`, like X.
 * @throws {TypeError} A wrong kind of thing; the message starts with its name.
 * @throws {RangeError} A wrong value or shape, or a position that the caches don't have.
 *
 * @example
 * ```ts
 * import { rotaryEmbedding } from "flashtile/onnx";
 * const X = { data: new Float32Array([1, 2]), shape: [1, 1, 1, 2] };
 * const cos_cache = { data: new Float32Array([0]), shape: [1, 1, 1] };
 * const sin_cache = { data: new Float32Array([1]), shape: [1, 1, 1] };
 * console.log(Array.from(rotaryEmbedding({ X, cos_cache, sin_cache }).Y.data)); // [ -2, 1 ]
 * ```
 */
export function rotaryEmbedding(
  inputs: RotaryEmbeddingInputs,
  attributes: RotaryEmbeddingAttributes = {},
  options: NodeOptions = {},
): { Y: FloatTensor } {
  const node = createNode(ROTARY_EMBEDDING, inputs as unknown as Inputs, { ...attributes }, options);
  return stored(ROTARY_EMBEDDING.evaluate(node)) as { Y: FloatTensor };
}

interface Layout {
  readonly flat: boolean;
  /** X with axes [b, h, i, d]. */
  readonly heads: View;
  readonly dims: number;
  readonly interleaved: boolean;
}

/** How X and the attributes are to be read. */
function layoutOf(node: Node): Layout {
  const X = floating(node, "X");
  const { shape } = X;
  const flat = shape.length === 3;
  if (!flat && shape.length !== 4) throw new RangeError(`X: expected [B,H,N,D] or [B,N,H·D], got [${shape}]`);
  const count = number(node, "num_heads", 0);
  if (flat && count < 1) {
    throw new RangeError(`num_heads: expected a count for three-dimensional inputs, got ${count}`);
  }
  if (!flat && count !== 0 && count !== shape[1]) {
    throw new RangeError(`num_heads: expected ${shape[1]} like X's, got ${count}`);
  }
  const heads = flat ? splitHeads("X", X, count) : X;
  const D = heads.shape[3];
  const dims = number(node, "rotary_embedding_dim", 0) || D;
  if (dims < 0 || dims > D || dims % 2 !== 0) {
    throw new RangeError(`rotary_embedding_dim: expected an even number up to ${D}, got ${dims}`);
  }
  return { flat, heads, dims, interleaved: flag(node, "interleaved") };
}

/** The node as a call of applyRotary: a row of the tables for each token. */
function kernelCall(node: Node): [x: TensorInput, tables: RotaryTables] {
  const { flat, heads, dims, interleaved } = layoutOf(node);
  const [B, , N] = heads.shape;
  const half = dims / 2;
  const table = (name: string): TensorInput => ({
    data: Float32Array.from(cache(node, name, [B, N, half])),
    shape: [B * N, half],
  });
  return [flat ? permute(heads, [0, 2, 1, 3]) : heads, {
    cos: table("cos_cache"),
    sin: table("sin_cache"),
    positions: { data: Int32Array.from({ length: B * N }, (_, n) => n), shape: [B, N] },
    interleaved,
    layout: flat ? "bnhd" : "bhnd",
  }];
}

/** All heads turned; each product is rounded, and so is their sum. */
function turn(node: Node, arithmetic: Arithmetic): Range {
  const X = floating(node, "X");
  const { shape, dtype } = X;
  const { flat, heads, dims, interleaved } = layoutOf(node);
  const [B, H, N, D] = heads.shape;
  const half = dims / 2;
  const cos = cache(node, "cos_cache", [B, N, half]);
  const sin = cache(node, "sin_cache", [B, N, half]);
  checkDType("cos_cache", floating(node, "cos_cache"), dtype, "X");
  checkDType("sin_cache", floating(node, "sin_cache"), dtype, "X");

  const values = toFloat64(X);
  const y = emptyRange(shape, isExact(arithmetic));
  y.lo.set(values);
  y.hi.set(values);
  const { down, up } = arithmetic.result;
  const write = (at: number, a: number, b: number) => {
    y.lo[at] = down(down(a) + down(b));
    y.hi[at] = up(up(a) + up(b));
  };
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < N; i++) {
        const row = flat ? ((b * N + i) * H + h) * D : ((b * H + h) * N + i) * D;
        for (let d = 0; d < half; d++) {
          const one = row + (interleaved ? 2 * d : d);
          const two = interleaved ? one + 1 : one + half;
          const c = cos[(b * N + i) * half + d];
          const s = sin[(b * N + i) * half + d];
          const [x1, x2] = [values[one], values[two]];
          write(one, c * x1, -(s * x2));
          write(two, s * x1, c * x2);
        }
      }
    }
  }
  return y;
}

/** A cache as [B,N,R/2], picked by position_ids where there are some. */
function cache(node: Node, name: string, [B, N, half]: readonly [number, number, number]): Float64Array {
  const source = floating(node, name);
  const positions = node.inputs.get("position_ids");
  if (!positions) {
    checkShape(name, source, [B, N, half], "[B,N,R/2]");
    return toFloat64(source);
  }
  checkShape(name, source, [null, half], "[positions,R/2]");
  return pick(toFloat64(source), half, positionsOf(positions, [B, N], source.shape[0]));
}

/** position_ids [B,N], each below `count`. */
export function positionsOf(source: View, shape: readonly [number, number], count: number): number[] {
  if (source.dtype !== "int64" && source.dtype !== "int32") {
    throw new TypeError(`position_ids: expected int64, got ${source.dtype}`);
  }
  checkShape("position_ids", source, shape, "[B,N]");
  return integers("position_ids", toFloat64(source)).map((p, n) => {
    const row = p < 0 ? p + count : p;
    if (row < 0 || row >= count) {
      throw new RangeError(`position_ids[${n}]: expected a position below ${count}, got ${p}`);
    }
    return row;
  });
}

/** Rows of a cache, one after the other. */
export function pick(rows: Float64Array, width: number, which: readonly number[]): Float64Array {
  const out = new Float64Array(which.length * width);
  which.forEach((row, n) => out.set(rows.subarray(row * width, (row + 1) * width), n * width));
  return out;
}
