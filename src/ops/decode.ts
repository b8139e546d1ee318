/**
 * decode: attention of a few queries over a cache that stays where it is (assembly/ops/decode.ts): one pass over K, one
 * over V, whatever the head width, the row stride and the dtype.
 *
 *   for each key/value head     rows = the group's (head, query) pairs, 4 at a time
 *     for each split of 2048 keys, cut from key 0: its own state (m, l, O), merged in ascending order
 *
 * Splits are part of the result's definition, not of a schedule: computed elsewhere or at another time they give the
 * same bits. A query's bits depend on itself, its bounds and its head's keys, not on the queries beside it.
 *
 * O before the division by l may be 2^8·M times |V|: where that overflowed, the head is computed again with P·2^-40 and
 * what was not finite is replaced.
 */
import type { Engine } from "../wasm/load.ts";
import { expectCount, expectLength } from "./expect.ts";
import { LOG2E } from "./halvings.ts";
import type { WeightType } from "./linear.ts";
import { FIRST, SCORES, TASK_BYTES } from "./task.ts";
import * as word from "./word.ts";

/** Keys of a split: 1 MiB of K at D = 128, 100 µs of work. Changes bits: a constant of the profile. */
export const SPLIT = 2048;
/** Flags of assembly/ops/decode.ts. */
const SHRINK = 1 << 16;
const FINITE = 1 << 17;
const INFINITE = 0x7f800000;
const CODES: Readonly<Record<WeightType, number>> = { float32: 0, float16: 1, bfloat16: 2 };

/** N queries, M keys, H query heads on G key/value heads, widths D of Q and K, E of V (default D). */
export interface DecodeShape {
  N: number;
  M: number;
  H: number;
  G: number;
  D: number;
  E?: number;
}

export interface DecodeOptions {
  /** Default 1/√D. */
  scale?: number;
  /** softcap·tanh(x/softcap) on the scaled scores; 0, the default, is off. */
  softcap?: number;
  /** Query i sees keys j ≤ M − N + i (default), or all M. */
  causal?: boolean;
  /** Or lo, hi for each of the N queries: it sees lo ≤ j < hi ≤ M. */
  ranges?: Int32Array;
  /** Element type of K and V; Q and O are float32. */
  dtype?: WeightType;
  /** float16 K and V hold no ∞ and no NaN, the caller knows: saves a look at each tile, 10–40 % of the time. */
  finite?: boolean;
}

/** Addresses, and strides in elements; the default strides are [N,H,D], [M,G,D], [M,G,E] and [N,H,E]. */
export interface DecodePointers extends DecodeShape, DecodeOptions {
  q_p: number;
  k_p: number;
  v_p: number;
  out_p: number;
  /** float32 [H,N], natural logarithm. */
  lse_p?: number;
  qToken?: number;
  qHead?: number;
  kToken?: number;
  kHead?: number;
  vToken?: number;
  vHead?: number;
  outToken?: number;
  outHead?: number;
}

/**
 * O = softmax(scale·Q·Kᵀ)·V on addresses. A query without keys gives O = 0 and lse = −∞. May grow the arena, which ends
 * every view. Dimensions and ranges are not checked here.
 */
export function decode_p(engine: Engine, at: DecodePointers): void {
  if (at.N === 0 || at.G === 0) return;
  const mark = engine.arena.mark();
  try {
    const call = new Decode(engine, at);
    for (let g = 0; g < at.G; g++) call.head(g);
  } finally {
    engine.arena.release(mark);
  }
}

interface State {
  readonly m_p: number;
  readonly l_p: number;
  readonly o_p: number;
}

/** The buffers of one call, allocated before the first view is made: nothing grows while heads are computed. */
class Decode {
  readonly #engine: Engine;
  readonly #at: Required<Omit<DecodePointers, "ranges" | "scale" | "causal">>;
  readonly #rows: number;
  readonly #group: number;
  readonly #sign: number;
  readonly #total: State;
  readonly #part: State;
  readonly #task_p: number;
  readonly #q_p: number;
  /** O of one head's rows, and room for a second one. */
  readonly #out_p: number;
  readonly #spare_p: number;
  /** Keys that some query sees lie in [lo, hi). */
  readonly #lo: number;
  readonly #hi: number;
  readonly #words: Int32Array;
  readonly #floats: Float32Array;

  constructor(engine: Engine, at: DecodePointers) {
    const { arena, kernels } = engine;
    const { N, M, H, G, D, E = D, softcap = 0 } = at;
    const { q_p, k_p, v_p, out_p, lse_p = 0, dtype = "float32", finite = false } = at;
    const { qToken = H * D, qHead = D, kToken = G * D, kHead = D, vToken = G * E, vHead = E } = at;
    const { outToken = H * E, outHead = E } = at;
    this.#engine = engine;
    this.#at = {
      ...{ N, M, H, G, D, E, q_p, k_p, v_p, out_p, lse_p, dtype, finite, softcap },
      ...{ qToken, qHead, kToken, kHead, vToken, vHead, outToken, outHead },
    };
    this.#group = H / G;
    const rows = this.#rows = this.#group * N;
    const padded = Math.ceil(rows / 4) * 4, strips = (E + 7) >> 3;
    const state = () => ({
      m_p: arena.alloc(padded * 4),
      l_p: arena.alloc(padded * 4),
      o_p: arena.alloc(padded * strips * 32),
    });
    this.#total = state();
    this.#part = M > SPLIT ? state() : this.#total;
    this.#task_p = arena.alloc(TASK_BYTES);
    this.#q_p = arena.alloc(padded * Math.ceil(D / 4) * 16);
    this.#out_p = arena.alloc(rows * strips * 32);
    this.#spare_p = arena.alloc(rows * strips * 32);
    const bounds_p = arena.alloc(padded * 16);
    const scratch_p = arena.alloc(kernels.decode_scratch());
    this.#words = new Int32Array(arena.memory.buffer);
    this.#floats = new Float32Array(arena.memory.buffer);

    [this.#lo, this.#hi] = writeBounds(this.#words, bounds_p >> 2, at, rows, padded);
    // As in forward.ts: a negative scale negates Q, zero makes it 0, so that c is positive and does not underflow.
    const scale = at.scale ?? 1 / Math.sqrt(D);
    const zero = Math.fround(Math.fround(Math.abs(scale)) * LOG2E) === 0;
    this.#sign = zero ? 0 : Math.sign(scale);
    // Word by word, here and in #attend: a head of a short cache takes microseconds. What stays 0 is not used.
    const words = this.#words, floats = this.#floats, to = this.#task_p >> 2;
    words.fill(0, to, to + (TASK_BYTES >> 2));
    words[to + word.q_p] = this.#q_p;
    words[to + word.bounds_p] = bounds_p;
    words[to + word.scratch_p] = scratch_p;
    words[to + word.rows] = rows;
    words[to + word.D] = D;
    words[to + word.E] = E;
    words[to + word.strips] = strips;
    floats[to + word.c] = softcap > 0 ? LOG2E : (zero ? 1 : Math.abs(scale)) * LOG2E;
    floats[to + word.scale] = zero ? 1 : Math.abs(scale);
    floats[to + word.softcap] = softcap;
  }

  /** All queries that read key/value head g. */
  head(g: number): void {
    const { kernels } = this.#engine;
    const { N, D, E, q_p, qHead, qToken, out_p, outHead, outToken } = this.#at;
    const group = this.#group, rows = this.#rows;
    kernels.pack_q_rows_f32(q_p + g * group * qHead * 4, this.#q_p, group, N, qHead, qToken, D, this.#sign);
    this.#attend(g, 0, this.#out_p);
    if (kernels.max_bits_f32(this.#out_p, E, rows, E) >= INFINITE) this.#attendShrunk(g);
    kernels.scatter_rows_f32(this.#out_p, out_p + g * group * outHead * 4, group, N, outHead, outToken, E);
  }

  /** Split after split, then O as [rows,E] into `out_p`, and lse. */
  #attend(g: number, shrink: number, out_p: number): void {
    const { kernels } = this.#engine;
    const { k_p, v_p, kHead, vHead, kToken, vToken, dtype, finite, softcap, lse_p } = this.#at;
    const bytes = dtype === "float32" ? 4 : 2;
    const flags = FIRST | shrink | (finite ? FINITE : 0) | (softcap > 0 ? SCORES : 0);
    const first = this.#lo - this.#lo % SPLIT;
    const words = this.#words, at = this.#task_p >> 2;
    words[at + word.flags] = flags;
    for (let key0 = first; key0 === first || key0 < this.#hi; key0 += SPLIT) {
      const whole = key0 === first;
      this.#point(whole ? this.#total : this.#part);
      words[at + word.key0] = key0;
      words[at + word.keys] = Math.max(0, Math.min(SPLIT, this.#hi - key0));
      words[at + word.k_p] = k_p + (g * kHead + key0 * kToken) * bytes;
      words[at + word.v_p] = v_p + (g * vHead + key0 * vToken) * bytes;
      kernels.decode_f32(this.#task_p, kToken, vToken, CODES[dtype]);
      if (whole) continue;
      this.#point(this.#total);
      kernels.merge_state_f32(this.#task_p, this.#part.m_p, this.#part.l_p, this.#part.o_p);
    }
    words[at + word.out_p] = out_p;
    words[at + word.lse_p] = lse_p && lse_p + g * this.#rows * 4;
    this.#floats[at + word.unscale] = shrink ? 2 ** 40 : 1;
    kernels.finish_f32(this.#task_p);
  }

  /** The task's state is this one. */
  #point({ m_p, l_p, o_p }: State): void {
    const words = this.#words, at = this.#task_p >> 2;
    words[at + word.m_p] = m_p;
    words[at + word.l_p] = l_p;
    words[at + word.o_p] = o_p;
  }

  /** Elements of O that are not finite become what P·2^-40 gives; the others keep their bits. */
  #attendShrunk(g: number): void {
    const out = this.#out_p >> 2, spare = this.#spare_p >> 2;
    this.#attend(g, SHRINK, this.#spare_p);
    for (let at = 0; at < this.#rows * this.#at.E; at++) {
      if (!Number.isFinite(this.#floats[out + at])) this.#words[out + at] = this.#words[spare + at];
    }
  }
}

/** lo, hi, sink tokens and place of each row, repeated up to `padded`; returns what all rows together see. */
function writeBounds(
  words: Int32Array,
  at: number,
  { N, M, causal = true, ranges }: DecodePointers,
  rows: number,
  padded: number,
): [lo: number, hi: number] {
  let least = M, most = 0;
  for (let r = 0; r < padded; r++, at += 4) {
    const i = Math.min(r, rows - 1) % N;
    const lo = words[at] = ranges ? ranges[2 * i] : 0;
    const hi = words[at + 1] = ranges ? ranges[2 * i + 1] : causal ? Math.max(0, M - N + i + 1) : M;
    words[at + 2] = 0;
    words[at + 3] = M - N + i;
    if (lo < hi) {
      least = Math.min(least, lo);
      most = Math.max(most, hi);
    }
  }
  return [Math.min(least, most), most];
}

export interface DecodeResult {
  /** [N,H,E]. */
  out: Float32Array;
  /** [H,N]. */
  lse: Float32Array;
}

/**
 * The same on arrays: q [N,H,D], k [M,G,D], v [M,G,E], float32, or K and V both 16-bit words of `dtype`.
 *
 * @throws RangeError for lengths or ranges that do not fit, or if G does not divide H.
 */
export function decode(
  engine: Engine,
  q: Float32Array,
  k: Float32Array | Uint16Array,
  v: Float32Array | Uint16Array,
  options: DecodeShape & DecodeOptions,
): DecodeResult {
  const { N, M, H, G, D, E = D, ranges } = options;
  for (const [name, n] of Object.entries({ N, M, H, G, D, E })) expectCount(name, n);
  if (G === 0 ? H !== 0 : H % G !== 0) throw new RangeError(`G: expected a divisor of H=${H}, got ${G}`);
  expectLength("q", q, [N, H, D]);
  expectLength("k", k, [M, G, D]);
  expectLength("v", v, [M, G, E]);
  if (ranges) {
    expectLength("ranges", ranges, [N, 2]);
    ranges.forEach((j) => {
      if (j < 0 || j > M) throw new RangeError(`ranges: expected 0 ≤ key ≤ M=${M}, got ${j}`);
    });
  }
  const { arena } = engine;
  const mark = arena.mark();
  try {
    const put = (x: Float32Array | Uint16Array) => {
      const p = arena.alloc(x.byteLength);
      arena.u8(p, x.byteLength).set(new Uint8Array(x.buffer, x.byteOffset, x.byteLength));
      return p;
    };
    const q_p = put(q), k_p = put(k), v_p = put(v);
    const out_p = arena.alloc(N * H * E * 4), lse_p = arena.alloc(H * N * 4);
    decode_p(engine, { ...options, q_p, k_p, v_p, out_p, lse_p });
    return { out: arena.f32(out_p, N * H * E).slice(), lse: arena.f32(lse_p, H * N).slice() };
  } finally {
    arena.release(mark);
  }
}
