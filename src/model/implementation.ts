/**
 * What the forward pass asks of a back end. `T` is a row-major matrix or vector in the back end's own memory: a
 * Float64Array for the oracle, an address for WebAssembly. Activations and weights stay there from layer to layer;
 * only tokens go in and what is `read` comes out.
 */
import type { FileTensor } from "../io/tensor.ts";
import type { AttentionOptions } from "../options.ts";
import type { Recipe } from "../precision.ts";
import type { AttentionResult } from "../result.ts";
import type { TensorInput } from "../tensor.ts";
import type { RopeTables } from "./rope.ts";
import type { LinearWeights } from "./weights.ts";

export type ImplementationName = "reference" | "deterministic" | "relaxed";

export type Values = Float32Array | Float64Array;

/** A projection as the back end keeps it: `weight` may be packed. */
export interface Linear<T> extends LinearWeights<T> {
  readonly out: number;
  readonly depth: number;
}

/** Causal attention of the last N of M tokens. */
export interface AttentionShape {
  /** Query rows, the last N of the text. */
  readonly N: number;
  /** Tokens in the cache, these N included. */
  readonly M: number;
  readonly H: number;
  readonly G: number;
  readonly D: number;
  /** How a prompt is quantised, or null; a single query never is. */
  readonly recipe: Recipe | null;
}

export interface Implementation<T> {
  readonly name: ImplementationName;
  /** Names of the kernels that have run so far, in order of first use. */
  readonly kernels: ReadonlySet<string>;
  /** Bytes an element takes. */
  readonly elementBytes: number;

  /** Memory for `length` elements, kept until `close`, or inside `scratch` until that returns. */
  allocate(length: number): T;
  /** Runs `work` and gives back what it allocated. */
  scratch<R>(work: () => R): R;
  /** x from element `index` on, not copied. */
  part(x: T, index: number): T;
  /** A copy of the first `length` elements. */
  read(x: T, length: number): Values;

  vector(tensor: FileTensor): T;
  linearWeights(weights: LinearWeights<FileTensor>): Linear<T>;
  angles(tables: RopeTables): { readonly cos: T; readonly sin: T };

  /** x[i] = table[tokens[i]], rows of `width`. */
  embed(table: T, tokens: Uint8Array, width: number, x: T): void;
  /** y = x / √(mean(x²) + eps) · gain for each row. */
  rmsNorm(x: T, gain: T, rows: number, width: number, eps: number, y: T): void;
  /** y [rows, out] = x [rows, depth]·Wᵀ + b. */
  linear(x: T, w: Linear<T>, rows: number, y: T): void;
  /** Turns each head of x [rows, heads, D] in place to the angles of positions first, first + 1, … */
  rotate(x: T, angles: { cos: T; sin: T }, rows: number, heads: number, D: number, first: number): void;
  /** out [N,H,D] = attention of q [N,H,D] over the first M rows of k and v, both [capacity,G,D]. */
  attend(q: T, k: T, v: T, shape: AttentionShape, out: T): void;
  /**
   * What `attend` runs with a recipe, on arrays and with any options.
   *
   * @throws {RangeError} The back end lacks what was asked for.
   */
  attention(q: TensorInput, k: TensorInput, v: TensorInput, options: AttentionOptions): AttentionResult;
  /** x += y. */
  add(x: T, y: T, count: number): void;
  /** gate = silu(gate)·up. */
  gate(gate: T, up: T, count: number): void;
}
