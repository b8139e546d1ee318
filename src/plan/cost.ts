/**
 * What a plan costs: the bytes that each level of memory delivers to the next, and an estimate of the time.
 *
 * FastAttention's two levels of tiling, as the kernels of assembly/ops/forward.ts loop over them; bytes per element 4,
 * w = D + 8⌈E/8⌉ the words of a packed key, sums over the tiles that causal and window leave to visit:
 *
 *   registers ← L1   4×8 tiles: per pair of a query and a key 48 bytes for 2·4·8 flops, so 1.5·w; S written once, read
 *                    three times, P written once: 16; O in and out once per 64 keys: E/8
 *   L1 ← L2          Br × 64 tiles: K and V, 256·w bytes, once per block of Br rows that visits them if they stay in L1,
 *                    otherwise once per strip of 4 rows; Q in, O in and out, 4·D + 8·E a row: once per panel if the
 *                    whole block fits L1 as well, otherwise once per tile
 *   L2 ← memory      chunk × panel: K and V once to be packed (once in all if the panel holds them, otherwise once per
 *                    chunk of rows); if the panel does not stay in L2, out and in as it is written and its tiles in once
 *                    more per block; Q and O once per panel
 *
 * Large Br and small Bc move the least (Saha & Ye, arXiv 2402.07443; iomodel.ts), but Bc is the 64 of the profile.
 * Time is the sum: what the tiles compute, plus the price of each byte and call, as bench/sweep.ts shows them on a Zen 5
 * core. There prefetching hides nearly all that the levels deliver (half a byte a flop out of L2 costs 0–2 %, out of L3
 * 1–3 %) and packing is what counts (64 rows a panel +11 %, 128 +6 %, 256 +3 %). The prices of bytes are the upper end,
 * since other machines hide less and the choice hardly depends on them.
 */
import type { Caches } from "./machine.ts";

/** One attention as the planner sees it; ragged batches by their longest sequence. */
export interface Shape {
  readonly B: number;
  readonly H: number;
  readonly G: number;
  readonly N: number;
  readonly M: number;
  readonly D: number;
  readonly E: number;
  /** Row i sees keys p − left ≤ j ≤ p + right with p = i + offset; Infinity on an open side, right = 0 if causal. */
  readonly left: number;
  readonly right: number;
  readonly offset: number;
  /** Bytes of bias and masks that a chunk × panel holds ready for each of its pairs, default 0. */
  readonly staged?: number;
}

/** What may be chosen without changing a bit. */
export interface Tiles {
  /** Rows that share a K and a V tile of 64 keys in L1. */
  readonly br: number;
  /** Query rows that share a packed panel. */
  readonly chunkRows: number;
  /** Keys of a panel. */
  readonly panelKeys: number;
}

/** What a choice of tiles costs. */
export interface Cost {
  /** (query, key) pairs that the masks allow, and those that the kernels compute: groups of 4 rows × 16 keys. */
  readonly pairs: number;
  readonly computed: number;
  /** Bytes delivered to the registers by L1, to L1 by L2, to L2 by what lies behind. */
  readonly bytes: { readonly registers: number; readonly l1: number; readonly l2: number };
  /** Bytes that the formula counts on finding in L1 and L2; at most the caches. */
  readonly resident: { readonly l1: number; readonly l2: number };
  /** Words of K and V that are packed. */
  readonly packed: number;
  readonly seconds: number;
}

/**
 * Flops of the tiles a second; seconds: a softmax element, a byte from L2 and from memory, a word of K or V to be packed, of Q
 * or O to be copied in or out, a chunk × panel.
 */
const FLOPS = 54e9;
const ELEMENT = 0.6e-9;
const L2_BYTE = 1 / 1000e9;
const MEMORY_BYTE = 1 / 200e9;
const WORD = 0.3e-9;
const ROW_WORD = 0.7e-9;
const CALL = 2e-6;

/** Seconds that the tiles compute on a pair of w words. */
export function pairTime(w: number): number {
  return 2 * w / FLOPS + ELEMENT;
}

/** Columns of V as the kernels hold them. */
export function padded(E: number): number {
  return Math.max(8, (E + 7) & ~7);
}

/** The cost of a shape with these tiles on a core with these caches. */
export function cost(shape: Shape, tiles: Tiles, { l1, l2 }: Caches): Cost {
  const { B, G, H, N, M, D, E } = shape;
  const { br, chunkRows, panelKeys } = tiles;
  const Ep = padded(E);
  const heads = B * G;
  const rows = G && N * H / G;
  const tile = 256 * (D + Ep);
  const strip = 16 * (D + Ep);
  const strips = visits(shape, 4, 64);
  const blocks = visits(shape, br, 64);

  const keys = Math.min(panelKeys, Math.ceil(M / 64) * 64);
  const whole = M <= keys;
  const chunks = Math.ceil(rows / chunkRows);
  const loaded = whole ? M : 64 * visits(shape, chunkRows, 64);
  const panels = whole ? chunks : Math.max(chunks, Math.ceil(loaded / keys));
  const packed = loaded * (D + Ep);
  /** Q in, O in and out: once per strip and tile, or, where they stay, for all rows once per panel. */
  const streamed = strips * (strip + 16 * Ep);
  const states = Math.min(streamed, rows * (panels / Math.max(1, chunks)) * (4 * D + 8 * Ep));

  /** What enters a cache of so many bytes, and what of it stays: the tile and the block, the tile, or nothing. */
  const tiled = (size: number) => {
    const block = tile + strip * br / 4;
    if (block <= size) return { bytes: blocks * tile + states, stays: block };
    const shared = tile + 2 * strip;
    if (shared <= size) return { bytes: blocks * tile + streamed, stays: shared };
    return { bytes: strips * tile + streamed, stays: 0 };
  };
  const inL1 = tiled(l1);
  const panel = keys * (D + Ep) * 4 + strip * br / 4;
  const inL2 = panel <= l2 ? { bytes: states, stays: panel } : tiled(l2);
  // What is packed and does not stay is filled before it is written, and written back.
  const written = panel <= l2 ? 0 : packed * 8;

  const computed = heads * 64 * visits(shape, 4, 16);
  const bytes = {
    registers: computed * (1.5 * (D + Ep) + Ep / 8 + 16),
    l1: heads * inL1.bytes,
    l2: heads * (packed * 4 + written + inL2.bytes),
  };
  return {
    pairs: heads * visits(shape, 1, 1),
    computed,
    bytes,
    resident: { l1: inL1.stays, l2: inL2.stays },
    packed: heads * packed,
    seconds: computed * pairTime(D + Ep) + bytes.l1 * L2_BYTE + bytes.l2 * MEMORY_BYTE +
      heads * (packed * WORD + rows * (D + E) * ROW_WORD + panels * CALL),
  };
}

/**
 * Groups of `unit` keys that steps of `step` query rows visit, summed over the rows of one key/value head, in O(1);
 * unit divides step or step divides unit.
 */
export function visits({ H, G, N, M, left, right, offset }: Shape, step: number, unit: number): number {
  if (G === 0 || N === 0) return 0;
  const all = Math.ceil(M / unit);
  const group = H / G;
  if (left === Infinity && right === Infinity) return Math.ceil(N * group / step) * all;
  // A step that is taller than a head sees what all rows of the head see.
  const tall = step >= N;
  const steps = tall ? 1 : Math.ceil(N / step);
  const reach = Math.min(step, N);
  const upTo = right === Infinity
    ? steps * all
    : ramp(steps, step, offset + right + reach + unit - 1, unit, all);
  const before = left === Infinity ? 0 : ramp(steps, step, offset - left, unit, Math.floor(M / unit));
  return (upTo - before) * (tall ? Math.ceil(N * group / step) : group);
}

/** Σ over 0 ≤ k < n of ⌊(k·step + a)/unit⌋ cut to 0 … top. */
function ramp(n: number, step: number, a: number, unit: number, top: number): number {
  const cut = (k: number) => Math.min(n, Math.max(0, Math.ceil(k)));
  const full = cut((top * unit - a) / step);
  return floors(full, step, a, unit) - floors(Math.min(full, cut(-a / step)), step, a, unit) +
    (n - full) * top;
}

/** Σ over 0 ≤ k < n of ⌊(k·step + a)/unit⌋. */
function floors(n: number, step: number, a: number, unit: number): number {
  if (step % unit === 0) return n * Math.floor(a / unit) + step / unit * n * (n - 1) / 2;
  const each = unit / step;
  const upTo = (x: number) => {
    const q = Math.floor(x / each);
    return q * (x - each * (q + 1) / 2);
  };
  const first = Math.floor(a / step);
  return upTo(first + n) - upTo(first);
}
