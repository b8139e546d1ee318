/**
 * The one public door: (q, k, v, options) → a validated Problem that reference and kernels alike compute from.
 *
 * Every layout becomes views with axes [b, h, i, d]; every mask that is an interval of keys (causal, window, sink
 * tokens, chunk, lengths) becomes `keyRange`: key j is allowed for row i iff lo ≤ j < hi, or j < min(sinkTokens, hi).
 * A boolean mask and a bias of −∞ cut further. Nothing is copied, nothing is allocated beyond O(B + H).
 */
import {
  atLeastZero,
  complete,
  count,
  expectFields,
  expectRecord,
  type Fields,
  finite,
  FLAG,
  integer,
  MAX_INTEGER,
  oneOf,
  or,
  refuse,
} from "./check.ts";
import { broadcast, type TensorInput, type View } from "./tensor.ts";
import { counts, vector } from "./vector.ts";
import { type DType, FLOATS } from "./dtype.ts";
import { boolean, floating, geometry as geometryOf, LAYOUTS } from "./geometry.ts";
import type { AttentionOptions, Layout, Vector } from "./options.ts";
import { type Recipe, resolvePrecision } from "./precision.ts";
import type { BlockMask } from "./sparse/blockmask.ts";
import { defaults, presets, type Semantics, type SemanticsName, switches } from "./semantics.ts";
import { diagonal, windows } from "./visible.ts";

export { isCausalKernel, keyRange, OPEN } from "./visible.ts";

export interface Problem {
  /** Batch (sequences, with "thd"). */
  readonly B: number;
  /** Query heads, key/value heads: H = G·group, and query head h reads key/value head ⌊h/group⌋. */
  readonly H: number;
  readonly G: number;
  readonly group: number;
  /** Queries, keys: the longest sequence's, with "thd". */
  readonly N: number;
  readonly M: number;
  /** Width of Q and K, width of V. */
  readonly D: number;
  readonly E: number;
  readonly layout: Layout;
  /** Axes [b, h, i, d]; with "thd" the batch axis has stride 0 and rows start at queryStart[b], keyStart[b]. */
  readonly q: View;
  readonly k: View;
  readonly v: View;
  readonly queryStart: Int32Array;
  readonly keyStart: Int32Array;
  /** Rows of the packed q and k with "thd", otherwise N and M. */
  readonly queries: number;
  readonly keys: number;
  /** Rows of each batch: N, M, or less with "thd" and keyLengths. */
  readonly queryLength: Int32Array;
  readonly keyLength: Int32Array;
  readonly scale: number;
  readonly softcap: number;
  readonly causal: boolean;
  /** The diagonal of row i of batch b lies at key p = i + offset[b]. */
  readonly offset: Int32Array;
  /** Per query head; OPEN on an open side. `causal` is not folded in. */
  readonly left: Int32Array;
  readonly right: Int32Array;
  readonly sinkTokens: Int32Array;
  readonly chunk: number;
  /** Broadcast to [B,H,N,M]. */
  readonly bias: View | null;
  readonly mask: View | null;
  /** The mask in blocks, in place of `mask`. */
  readonly blocks: BlockMask | null;
  /** [B·H] and [H], as numbers. */
  readonly alibiSlopes: Float64Array | null;
  readonly sink: Float64Array | null;
  readonly dropout: { readonly p: number; readonly seed: number } | null;
  readonly semantics: Semantics;
  /** How Q, K, P and V are quantised; null: not at all. */
  readonly precision: Recipe | null;
  readonly want: {
    readonly out: DType | null;
    readonly lse: boolean;
    readonly probabilities: boolean;
  };
}

/** Every option, with the values of those that have a few; the last two are the business of who runs the problem. */
const OPTIONS: Fields & Record<keyof AttentionOptions | "signal" | "onProgress", unknown> = {
  scale: null,
  causal: FLAG,
  align: null,
  window: null,
  sinkTokens: null,
  chunk: null,
  softcap: null,
  bias: null,
  mask: null,
  alibiSlopes: null,
  sink: null,
  keyLengths: null,
  cuSeqlens: null,
  layout: LAYOUTS,
  semantics: null,
  dropout: null,
  out: FLOATS,
  lse: FLAG,
  probabilities: FLAG,
  precision: null,
  signal: null,
  onProgress: null,
};

/** @throws TypeError for a wrong kind, RangeError for a wrong value or shape; the message starts with the name. */
export function createProblem(
  qInput: TensorInput,
  kInput: TensorInput,
  vInput: TensorInput,
  options: AttentionOptions = {},
): Problem {
  expectRecord("options", options, "an object");
  expectFields("", options, OPTIONS);
  const layout = or(options.layout, "bhnd");
  const geometry = geometryOf(layout, [qInput, kInput, vInput], options);
  const { B, H, G, N, M, D, E, q, k, v, queryStart, keyStart, queries, keys, queryLength } = geometry;
  const semantics = resolveSemantics(options.semantics);
  const scores = [B, H, N, M];

  const keyLength = options.keyLengths === undefined
    ? geometry.keyLength
    : keyLengths(options.keyLengths, geometry.keyLength);
  const cached = options.keyLengths === undefined ? "top-left" : "bottom-right";
  const align = or(options.align, semantics.align === "cache" ? cached : semantics.align);
  const offset = diagonal(align, queryLength, keyLength);
  const { left, right } = windows(options.window ?? null, H);
  const bias = options.bias === undefined
    ? null
    : broadcast("bias", floating("bias", options.bias), scores, "[B,H,N,M]");
  const blocks = isBlockMask(options.mask) ? options.mask : null;
  const mask = options.mask === undefined || blocks !== null
    ? null
    : broadcast("mask", boolean("mask", options.mask as TensorInput), scores, "[B,H,N,M]");
  if (layout === "thd" && (bias !== null || options.mask !== undefined)) {
    throw new RangeError(
      `${bias ? "bias" : "mask"}: not available with layout "thd"; use "bhnd" per sequence`,
    );
  }
  if (blocks) checkBlocks(blocks, scores);

  // Name by name: on Node 20 `{ ...geometry, … }` makes a hidden class a call, 40 µs and garbage that outlives scavenges.
  return {
    B,
    H,
    G,
    group: G === 0 ? 1 : H / G,
    N,
    M,
    D,
    E,
    layout,
    q,
    k,
    v,
    queryStart,
    keyStart,
    queries,
    keys,
    queryLength,
    keyLength,
    scale: scale(options.scale, D, semantics),
    softcap: atLeastZero("softcap", or(options.softcap, 0)),
    causal: options.causal === true,
    offset,
    left,
    right,
    sinkTokens: counts("sinkTokens", or(options.sinkTokens, 0), H, "[H]"),
    chunk: count("chunk", or(options.chunk, 0)),
    bias,
    mask,
    blocks,
    alibiSlopes: options.alibiSlopes === undefined ? null : slopes(options.alibiSlopes, B, H),
    sink: options.sink === undefined ? null : vector("sink", options.sink, [[H]], "[H]"),
    dropout: options.dropout === undefined ? null : dropout(options.dropout),
    semantics,
    precision: resolvePrecision(options.precision),
    want: {
      out: or<DType | null>(options.out, null),
      lse: options.lse === true,
      probabilities: options.probabilities === true,
    },
  };
}

/** Known by what is in it, not by its class, which only those load who make such masks. */
export function isBlockMask(mask: unknown): mask is BlockMask {
  return typeof mask === "object" && mask !== null && "starts" in mask && "parts" in mask && "words" in mask;
}

function checkBlocks({ shape }: BlockMask, scores: readonly number[]): void {
  if (shape.some((n, axis) => n !== scores[axis] && (n !== 1 || axis > 1))) {
    throw new RangeError(`mask: expected a BlockMask of [B,H,N,M] = [${scores}], got [${shape}]`);
  }
}

function slopes(input: Vector, B: number, H: number): Float64Array {
  const values = vector("alibiSlopes", input, [[H], [B, H]], "[H] or [B,H]");
  return Float64Array.from({ length: B * H }, (_, x) => values[x % values.length]);
}

function keyLengths(input: Vector, available: Int32Array): Int32Array {
  const values = vector("keyLengths", input, [[available.length]], "[B]");
  return available.map((most, b) => integer("keyLengths", values[b], 0, most, b));
}

function dropout(input: { p: number; seed: number }): { p: number; seed: number } {
  expectRecord("dropout", input, "{p, seed}");
  const p = finite("dropout.p", input.p);
  const seed = integer("dropout.seed", input.seed, -MAX_INTEGER, MAX_INTEGER);
  if (p < 0 || p >= 1) refuse("dropout.p", "0 ≤ p < 1", p);
  return { p, seed };
}

/** A preset by name, or the base record with some switches changed. */
export function resolveSemantics(input: AttentionOptions["semantics"]): Semantics {
  if (input === undefined) return defaults;
  if (typeof input === "string") return presets[oneOf("semantics", input, SYSTEMS)];
  expectRecord("semantics", input, "a preset's name or a record");
  expectFields("semantics.", input, switches);
  return complete(switches, input);
}

const SYSTEMS = Object.keys(presets) as SemanticsName[];

function scale(value: unknown, D: number, semantics: Semantics): number {
  const asked = value === undefined || (value === 0 && semantics.zeroScale === "default");
  return asked ? 1 / Math.sqrt(D) : finite("scale", value);
}
