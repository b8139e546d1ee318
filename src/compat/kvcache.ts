/**
 * flash_attn_with_kvcache: append the new keys and values to a cache in place, then attend to all of it.
 *
 *   1. K_new is turned at positions cacheSeqlens[b] + t, and with V_new stored there
 *   2. Q is turned at cacheSeqlens[b] + i if causal or windowed, else all of it at cacheSeqlens[b]
 *   3. attention over the cacheSeqlens[b] + T − leftpad[b] keys from leftpad[b] on
 *
 * Row j of sequence b lies in a contiguous cache [Bc,S,G,D] at (cacheBatchIdx[b], j), in a paged one [pages,P,G,D] at
 * (blockTable[b][⌊j/P⌋], j mod P). Source: flash-attention's flash_attn_interface.py and flash_fwd_kernel.h. A
 * contiguous cache is read where it lies; pages, left padding and batch indices are gathered, (D + E)·G a key.
 */
import {
  fromFloat64,
  integers,
  isContiguous,
  type TensorInput,
  toFloat64,
  type View,
  view,
} from "../tensor.ts";
import { vector } from "../vector.ts";
import { floating } from "../geometry.ts";
import type { AttentionOptions, Vector } from "../options.ts";
import { applyRotary } from "../reference/qknorm.ts";
import type { AttentionResult } from "../result.ts";
import type { Attention } from "./names.ts";

/** Keyword arguments of flash_attn_with_kvcache, in camel case. */
export interface CacheOptions {
  /** New keys [B,T,G,D] and values [B,T,G,E], of the caches' dtypes. */
  readonly k?: TensorInput | null;
  readonly v?: TensorInput | null;
  /** [positions, R/2], turns k and q. */
  readonly rotaryCos?: TensorInput | null;
  readonly rotarySin?: TensorInput | null;
  /** Keys in the cache of each sequence, [B] or one for all; the whole cache unless given. */
  readonly cacheSeqlens?: Vector | number | null;
  /** Row of the cache for each sequence, [B]; not with blockTable. */
  readonly cacheBatchIdx?: Vector | null;
  /** First valid key of each sequence, [B]; not with blockTable. */
  readonly cacheLeftpad?: Vector | null;
  /** Pages of each sequence, [B, most]. */
  readonly blockTable?: TensorInput | null;
  readonly softmaxScale?: number | null;
  readonly causal?: boolean;
  readonly windowSize?: readonly [number, number];
  readonly softcap?: number;
  /** Pairs (2d, 2d + 1), which is the default here, or (d, d + R/2). */
  readonly rotaryInterleaved?: boolean;
  readonly alibiSlopes?: Vector | null;
  /** How a GPU would split the keys; nothing here. */
  readonly numSplits?: number;
  readonly returnSoftmaxLse?: boolean;
}

export const CACHE_NAMES = [
  ...["k", "v", "rotaryCos", "rotarySin", "cacheSeqlens", "cacheBatchIdx", "cacheLeftpad", "blockTable"],
  ...["softmaxScale", "causal", "windowSize", "softcap", "rotaryInterleaved", "alibiSlopes", "numSplits"],
  "returnSoftmaxLse",
];

/** Rows of the caches by sequence and key. */
interface Slots {
  readonly B: number;
  /** Keys a sequence has room for. */
  readonly capacity: number;
  row(b: number, j: number): number;
}

export function attendCache(
  attention: Attention,
  qInput: TensorInput,
  kInput: TensorInput,
  vInput: TensorInput,
  options: CacheOptions,
  common: AttentionOptions,
): AttentionResult {
  const q = ranked("q", qInput, "[B,N,H,D]");
  const kCache = cache("kCache", kInput);
  const vCache = cache("vCache", vInput);
  const B = q.shape[0];
  if ([0, 1, 2].some((axis) => kCache.shape[axis] !== vCache.shape[axis])) {
    throw new RangeError(
      `vCache: expected [${kCache.shape.slice(0, 3)},E] like kCache, got [${vCache.shape}]`,
    );
  }
  const slots = slotsOf(options, kCache, B);
  const leftpad = counts("cacheLeftpad", options.cacheLeftpad ?? 0, B);
  const lengths = counts("cacheSeqlens", options.cacheSeqlens ?? slots.capacity, B);
  const added = newTokens(options, kCache, vCache, slots, lengths);
  const T = added === null ? 0 : added.T;
  lengths.forEach((n, b) => {
    if (n + T > slots.capacity) {
      throw new RangeError(
        `cacheSeqlens[${b}]: expected room for ${T} new keys in ${slots.capacity}, got ${n} old ones`,
      );
    }
    if (n + T < leftpad[b]) {
      throw new RangeError(`cacheLeftpad[${b}]: expected at most ${n + T} keys, got ${leftpad[b]}`);
    }
  });
  const turned = turnQueries(q, options, lengths);
  added?.store();
  const keyLengths = lengths.map((n, b) => n + T - leftpad[b]);
  const inPlace = !options.blockTable && !options.cacheBatchIdx && !options.cacheLeftpad;
  const [k, v] = [kCache, vCache].map((t) => inPlace ? t : gather(t, slots, keyLengths, leftpad));
  return attention(turned, k, v, { ...common, layout: "bnhd", keyLengths, lse: true });
}

function slotsOf(options: CacheOptions, kCache: View, B: number): Slots {
  const [rows, size] = kCache.shape;
  if (!options.blockTable) {
    if (!options.cacheBatchIdx) {
      if (rows !== B) throw new RangeError(`kCache: expected B=${B} sequences, got ${rows}`);
      return { B, capacity: size, row: (b, j) => b * size + j };
    }
    const index = counts("cacheBatchIdx", options.cacheBatchIdx, B);
    const bad = index.findIndex((x) => x >= rows);
    if (bad >= 0) throw new RangeError(`cacheBatchIdx[${bad}]: expected 0 to ${rows - 1}, got ${index[bad]}`);
    return { B, capacity: size, row: (b, j) => index[b] * size + j };
  }
  for (const name of ["cacheBatchIdx", "cacheLeftpad"] as const) {
    if (options[name]) throw new RangeError(`${name}: expected none with blockTable, got one`);
  }
  const source = view("blockTable", options.blockTable);
  if (source.shape.length !== 2 || source.shape[0] !== B) {
    throw new RangeError(`blockTable: expected [B,pages] with B=${B}, got [${source.shape}]`);
  }
  const most = source.shape[1];
  const table = integers("blockTable", toFloat64(source));
  return {
    B,
    capacity: most * size,
    row(b, j) {
      const page = table[b * most + Math.floor(j / size)];
      if (page < 0 || page >= rows) {
        throw new RangeError(
          `blockTable[${b},${Math.floor(j / size)}]: expected 0 to ${rows - 1}, got ${page}`,
        );
      }
      return page * size + j % size;
    },
  };
}

/** Step 1: what to store, checked and turned, so that nothing is written if anything is wrong. */
function newTokens(options: CacheOptions, kCache: View, vCache: View, slots: Slots, lengths: number[]) {
  if (!options.k || !options.v) {
    if (options.k || options.v) throw new TypeError("k: expected k and v together, got one of them");
    return null;
  }
  if (options.cacheSeqlens === undefined || options.cacheSeqlens === null) {
    throw new TypeError("cacheSeqlens: expected the lengths before k is appended, got none");
  }
  const k = fresh("k", options.k, kCache, slots.B);
  const v = fresh("v", options.v, vCache, slots.B);
  const T = k.shape[1];
  if (v.shape[1] !== T) throw new RangeError(`v: expected T=${T} tokens like k, got ${v.shape[1]}`);
  const positions = lengths.flatMap((n) => Array.from({ length: T }, (_, t) => n + t));
  const turned = turn(k, options, positions);
  return {
    T,
    store() {
      const rows = positions.map((j, x) => slots.row(Math.floor(x / T), j));
      storeRows(turned, kCache, rows);
      storeRows(v, vCache, rows);
    },
  };
}

/** Row x of the source, [B·T, G·width], becomes row rows[x] of the cache, word for word. */
function storeRows(source: View, target: View, rows: number[]): void {
  const width = target.shape[2] * target.shape[3];
  const packed = isContiguous(source);
  const words = packed ? source.data : fromFloat64(toFloat64(source), source.dtype);
  rows.forEach((row, x) => {
    const start = (packed ? source.offset : 0) + x * width;
    (target.data as Float32Array).set(
      words.subarray(start, start + width) as Float32Array,
      target.offset + row * width,
    );
  });
}

/** Step 2. */
function turnQueries(q: View, options: CacheOptions, lengths: number[]): View {
  const [, N] = q.shape;
  const [left, right] = options.windowSize ?? [-1, -1];
  const moving = options.causal === true || left >= 0 || right >= 0;
  return turn(q, options, lengths.flatMap((n) => Array.from({ length: N }, (_, i) => moving ? n + i : n)));
}

/** [B,T,heads,D] turned at positions [B,T], in the dtype it came in. */
function turn(source: View, options: CacheOptions, positions: number[]): View {
  const { rotaryCos: cos, rotarySin: sin, rotaryInterleaved } = options;
  if (!cos || !sin) {
    if (cos || sin) {
      throw new TypeError("rotaryCos: expected rotaryCos and rotarySin together, got one of them");
    }
    return source;
  }
  const [B, T] = source.shape;
  const { data, shape } = applyRotary(source, {
    ...{ cos, sin, layout: "bnhd", interleaved: rotaryInterleaved ?? true },
    positions: { data: Float64Array.from(positions), shape: [B, T] },
  });
  return view("rotary", {
    data: fromFloat64(data as Float64Array, source.dtype),
    shape,
    dtype: source.dtype,
  });
}

/** Keys leftpad[b] ≤ j < leftpad[b] + lengths[b] of each sequence, [B, longest, G, width]. */
function gather(source: View, slots: Slots, lengths: number[], leftpad: number[]): View {
  const [, , G, size] = source.shape;
  const width = G * size;
  const longest = lengths.reduce((top, n) => Math.max(top, n), 0);
  const Words = source.data.constructor as new (length: number) => Float32Array;
  const data = new Words(slots.B * longest * width);
  lengths.forEach((n, b) => {
    for (let j = 0; j < n; j++) {
      const at = source.offset + slots.row(b, leftpad[b] + j) * width;
      data.set((source.data as Float32Array).subarray(at, at + width), (b * longest + j) * width);
    }
  });
  return view("cache", { data, shape: [slots.B, longest, G, size], dtype: source.dtype });
}

function ranked(name: string, input: TensorInput, letters: string): View {
  const source = floating(name, input);
  if (source.shape.length !== 4) throw new RangeError(`${name}: expected ${letters}, got [${source.shape}]`);
  return source;
}

/** A cache is written to: its rows must lie one after the other. */
function cache(name: string, input: TensorInput): View {
  const source = ranked(name, input, "[B,S,G,D] or [pages,P,G,D]");
  if (!isContiguous(source)) {
    throw new RangeError(`${name}: expected contiguous rows, got strides [${source.strides}]`);
  }
  return source;
}

function fresh(name: string, input: TensorInput, target: View, B: number): View {
  const source = ranked(name, input, "[B,T,G,D]");
  const [, , G, size] = target.shape;
  if (source.shape[0] !== B || source.shape[2] !== G || source.shape[3] !== size) {
    throw new RangeError(`${name}: expected [${B},T,${G},${size}], got [${source.shape}]`);
  }
  if (source.dtype !== target.dtype) {
    throw new TypeError(`${name}: expected ${target.dtype} like the cache, got ${source.dtype}`);
  }
  return source;
}

/** Integers ≥ 0, one per sequence; a number stands for all. */
function counts(name: string, input: Vector | number, B: number): number[] {
  const given = typeof input === "number"
    ? new Array<number>(B).fill(input)
    : vector(name, input, [[B]], "[B]");
  const values = integers(name, given);
  const bad = values.findIndex((n) => n < 0);
  if (bad >= 0) throw new RangeError(`${name}[${bad}]: expected an integer ≥ 0, got ${values[bad]}`);
  return values;
}
