/**
 * Quantised forward: what ForwardCall does, with Q, K, P and V as integer codes in 16-bit lanes (src/precision.ts).
 *
 *   per (batch, key/value head)   means of K and V over the keys that some query sees         one pass over K and V
 *   per panel                     K − k̄ → codes, a unit a key; V − v̄ → codes, a unit a column and tile of 64 keys
 *   per chunk of rows             Q → codes, a unit a row; q·k̄
 *
 * Codes, units and the tiles in which P is rounded are those of src/reference/sage.ts; kernels: assembly/ops/quantised.ts
 * and the tiles qk_i16_4x16, softmax_i16_4x64, pv_i16_4x16. Means, units and codes belong to the head and the row, so
 * neither chunk nor panel nor batch changes a bit.
 *
 * K of 4 bits lies in the panel as nibbles, V of "float32/fp8" as bytes; the kernel unpacks a tile for a block of rows.
 *
 * Quantisation would hide NaN and ∞, and huge numbers overflow: keys with such numbers (2^60 in Q or K, 2^88 in V) are in
 * no mean and no unit, and rows that see one, or hold one, are computed in float32.
 */
import { integerLimit, valueLimits } from "../limits.ts";
import type { Recipe } from "../precision.ts";
import type { Problem } from "../problem.ts";
import type { View } from "../tensor.ts";
import type { Engine } from "../wasm/load.ts";
import { roundUp } from "../wasm/arena.ts";
import type { ForwardOptions } from "./buffers.ts";
import { ForwardCall } from "./call.ts";
import { LOG2E } from "./halvings.ts";
import type { Span } from "./rows.ts";
import { seenKeys } from "./seen.ts";
import type { Steps } from "./steps.ts";
import * as task from "./task.ts";
import * as word from "./word.ts";

/** Elements of K or V that a step looks through, ≈ 5 ms. */
const SCANNED = 2 ** 22;
/** Bits of 2^60 and 2^88. */
const LARGE_QK = (127 + 60) << 23;
const LARGE_V = (127 + 88) << 23;
/** What a row's exponent is multiplied by stays a normal number, however small the row: 0·∞ would be NaN. */
const SMALLEST = 2 ** -126;
const LARGEST = 3.4028234663852886e38;

/** Sums of the lanes of nibbles fit 32 bits up to here (assembly/tile/qk_i4_4x32.ts). */
const WIDEST_I4 = 8192;

/** Why the kernels don't compute this recipe, or null if they do. */
export function unsupportedRecipe(recipe: Recipe): string | null {
  const { qk, granularity: { q, k }, rounding, smoothQ, pv, pScale, vScale } = recipe;
  const codes = !pv.startsWith("float32");
  for (
    const [field, value, computed] of [
      ["qk", qk, qk.startsWith("int")],
      ["granularity.q", q, q === "token"],
      ["granularity.k", k, k === "token"],
      ["rounding", rounding, rounding === "half-even"],
      ["smoothQ", smoothQ, !smoothQ],
      ["pv", pv, !codes || pv.startsWith("int")],
      ["pScale", pScale, !codes || pScale === "tile"],
      ["vScale", vScale, !codes || vScale === "tile"],
    ]
  ) if (!computed) return `precision.${field} "${value}"`;
  return null;
}

export class QuantisedCall extends ForwardCall {
  readonly #options: ForwardOptions;
  readonly #recipe: Recipe;
  readonly #limits: { qk: number; v: number };
  readonly #scores: boolean;
  /** Per key of the panel; per column and tile of the panel; per row; per column of K and of V; zeros. */
  readonly #own: Record<
    "kUnit" | "vUnit" | "unit" | "shift" | "c" | "qSum" | "meanK" | "meanV" | "zeros" | "sums" | "seen",
    number
  >;
  /** Codes of Q and K, of V, in bytes: 7 bits on the relaxed build. */
  readonly #bytes: { qk: boolean; v: boolean };
  /** P and V in float32; the code of P = 1. */
  readonly #plain: boolean;
  readonly #top: number;
  /** Of K in nibbles: where i16 codes wait to become so, and a tile is unpacked to; else 0. */
  readonly #codes: number;
  /** Of V in E4M3: bytes from the units of a tile to those of the next, 0 if all have the same; else null. */
  readonly #step: number | null;
  /** Of (b, g): keys that some query sees, if not all; those with numbers for float32; rows left to it. */
  #seen: Uint8Array | null = null;
  readonly #bad = new Set<number>();
  readonly #left = new Set<number>();
  #exact: Exact | null = null;

  constructor(engine: Engine, problem: Problem, options: ForwardOptions) {
    const recipe = problem.precision as Recipe;
    const fast = engine.name === "relaxed" && !options.scalar;
    const bytes = {
      qk: fast && recipe.qk === "int7" && problem.D % 8 === 0,
      v: fast && recipe.pv === "int7",
    };
    const e4m3 = recipe.pv === "float32/fp8";
    const plain = recipe.pv === "float32";
    const floats = e4m3 || plain;
    const nibbles = recipe.qk === "int4" && problem.D <= WIDEST_I4;
    const flags = (bytes.qk ? task.BYTES_QK : 0) | (bytes.v ? task.BYTES_PV : 0) |
      (floats ? task.PLAIN_PV : 0) | (nibbles ? task.TILE_K : 0) | (e4m3 ? task.TILE_V : 0);
    super(engine, problem, options, {
      element: {
        bytes: 2,
        keyBytes: nibbles ? 0.5 : 2,
        valueBytes: e4m3 ? 1 : plain ? 4 : 2,
        wide: 2,
        multiple: 2,
        columns: floats ? 8 : 16,
      },
      flags: task.QUANTISED | flags,
    });
    const { arena, kernels } = engine;
    const { D, E, M } = problem;
    this.#bytes = bytes;
    const step = this.#step = !e4m3 ? null : recipe.vScale === "tile" ? this.buffers.strips * 32 : 0;
    const qk = integerLimit(recipe.qk as Parameters<typeof integerLimit>[0], D);
    const { p, v } = floats ? { p: 1, v: 1 } : valueLimits[recipe.pv as keyof typeof valueLimits];
    this.#plain = plain;
    this.#top = p;
    this.#options = options;
    this.#recipe = recipe;
    this.#limits = { qk, v };
    this.#scores = floats || problem.bias !== null || problem.softcap > 0 || problem.alibiSlopes !== null;
    const Ep = roundUp(E, 16);
    const perRow = () => arena.alloc(this.buffers.rows * 4);
    const own = this.#own = {
      kUnit: arena.alloc(this.buffers.keys * 4),
      vUnit: arena.alloc(this.buffers.keys / 64 * Ep * 4),
      unit: perRow(),
      shift: perRow(),
      c: perRow(),
      qSum: perRow(),
      meanK: arena.alloc(roundUp(D, 8) * 4),
      meanV: arena.alloc(Ep * 4),
      zeros: arena.alloc(roundUp(D, 8) * 4),
      sums: arena.alloc(roundUp(Math.max(D, E), 8) * 8),
      seen: arena.alloc(M),
    };
    const table = arena.alloc(128);
    const codes = this.#codes = nibbles ? arena.alloc(this.buffers.stage.rows * roundUp(D, 2) * 2) : 0;
    const tile = e4m3 ? arena.alloc(this.buffers.strips * 2048) : 0;
    const shift = Math.ceil(Math.log2(p));
    kernels.exp2_table(table, p / 2 ** shift, shift);
    for (const [at, n] of [[own.meanK, D], [own.zeros, D], [own.meanV, Ep]]) arena.f32(at, n).fill(0);
    const { words } = arena, to = this.buffers.at.task >> 2;
    words[to + word.k_unit_p] = own.kUnit;
    words[to + word.v_unit_p] = own.vUnit;
    words[to + word.unit_p] = own.unit;
    words[to + word.shift_p] = own.shift;
    words[to + word.c_p] = own.c;
    words[to + word.mean_p] = recipe.smoothV && !plain ? own.meanV : 0;
    words[to + word.q_sum_p] = own.qSum;
    words[to + word.table_p] = table;
    // Tiles are unpacked for each block of rows: 4, as planned where they stay in L1, are too few (407 → 258 ms).
    words[to + word.br] = options.br ?? Math.max(this.buffers.br, nibbles || e4m3 ? 64 : 0);
    words[to + word.k_tile_p] = codes;
    words[to + word.v_tile_p] = tile;
    words[to + word.v_unit_step] = step ?? 0;
    arena.floats[to + word.top] = p;
    // Units and shifts are in natural units as they are.
    arena.floats[to + word.scale] = 1;
    if (floats) arena.floats[to + word.c] = LOG2E;
  }

  /** Means of K and V. */
  override *enter(b: number, g: number): Steps<void> {
    const seen = seenKeys(this.problem, b, g);
    this.#bad.clear();
    this.#left.clear();
    yield* this.#scan(b, g, seen);
    if (this.#bad.size > 0) {
      const good = seen ?? new Uint8Array(this.problem.keyLength[b]).fill(1);
      for (const j of this.#bad) good[j] = 0;
      yield* this.#scan(b, g, good);
    }
    if (this.#step === 0) yield* this.#headUnits(b, g);
    this.keeps = null;
  }

  /** Units of V's columns over all keys that count, E4M3's: the largest |v| counts as at least 448·2^−126. */
  *#headUnits(b: number, g: number): Generator<number, void> {
    const { E } = this.problem;
    const { arena, kernels } = this.engine;
    const { vUnit, meanV, seen } = this.#own;
    const width = roundUp(E, 8);
    arena.f32(vUnit, width).fill(448 * SMALLEST);
    yield* this.#slices(this.problem.v, b, g, (j, rows, at) => {
      kernels.column_max_f32(
        ...[at, E, rows, E, meanV, this.#seen ? seen + j : 0, vUnit] as const,
      );
    });
    arena.f32(vUnit, width).forEach((top, e, all) => all[e] = top / 448);
  }

  *#scan(b: number, g: number, seen: Uint8Array | null): Generator<number, void> {
    const { smoothK, smoothV } = this.#recipe;
    this.#seen = seen;
    if (seen) this.engine.arena.u8(this.#own.seen, seen.length).set(seen);
    yield* this.#means(this.problem.k, b, g, smoothK ? this.#own.meanK : 0, LARGE_QK);
    // What float32 does with V needs no mean: Σp·v = Σp·(v − v̄) + v̄·Σp.
    if (this.#plain) return;
    yield* this.#means(this.problem.v, b, g, smoothV ? this.#own.meanV : 0, LARGE_V);
  }

  /** Writes the means of x's columns to mean_p, if it isn't 0; keys with |x| of `large` bits or more are bad. */
  *#means(x: View, b: number, g: number, mean_p: number, large: number): Generator<number, void> {
    const { arena, kernels } = this.engine;
    const { sums, seen } = this.#own;
    const width = x.shape[3];
    arena.u8(sums, roundUp(width, 8) * 8).fill(0);
    yield* this.#slices(x, b, g, (j, rows, at) => {
      const seen_p = this.#seen ? seen + j : 0;
      if (kernels.column_sums_f32(at, width, rows, width, seen_p, sums) < large) return;
      for (let r = 0; r < rows; r++) {
        const seenHere = this.#seen === null || this.#seen[j + r] === 1;
        const bits = kernels.max_bits_f32(at + r * width * 4, width, 1, width);
        if (seenHere && bits >= large) this.#bad.add(j + r);
      }
    });
    if (!mean_p) return;
    const count = this.#seen ? this.#seen.reduce((a, one) => a + one, 0) : this.problem.keyLength[b];
    const sum = new Float64Array(arena.memory.buffer, sums, width);
    arena.f32(mean_p, width).set(sum.map((s) => s / Math.max(count, 1)));
  }

  /** All of (b, g) of K or V, in steps. */
  *#slices(
    x: View,
    b: number,
    g: number,
    f: (j: number, rows: number, at: number) => void,
  ): Generator<number, void> {
    const end = this.problem.keyLength[b];
    const step = Math.ceil(SCANNED / x.shape[3]);
    for (let first = 0; first < end; first += step) {
      this.eachSlice(x, b, g, first, Math.min(end, first + step), f);
      yield 0;
    }
  }

  override rest(): ForwardCall | null {
    if (this.#left.size === 0) return null;
    this.#exact ??= new Exact(this.engine, this.problem, this.#options, undefined, this.result);
    this.#exact.chosen = this.#left;
    return this.#exact;
  }

  override loadKeys(b: number, g: number, start: number, end: number): void {
    const { arena, kernels } = this.engine;
    const { D } = this.problem;
    const { panel } = this.buffers;
    const own = this.#own;
    const row = roundUp(D, 2) * 2;
    const bytes = this.#bytes.qk;
    const codes = this.#codes;
    this.eachSlice(this.problem.k, b, g, start, end, (j, rows, from) => {
      const at = j - start;
      const to = codes || panel.k + at * (bytes ? D : row);
      kernels.pack_rows_i16(
        ...[from, D, rows, D, to, 16, own.meanK, this.#seen ? own.seen + j : 0] as const,
        ...[own.kUnit + at * 4, this.#limits.qk, 1] as const,
      );
      if (codes) kernels.pack_i4(to, panel.k + at * row / 4, row / 4, Math.ceil(rows / 32));
      if (bytes) kernels.narrow_i8(to, to, Math.ceil(rows / 16) * (D / 4), 16, 64, 0, 0);
    });
    // Who sees a bad key has a score that is NaN.
    const units = arena.f32(own.kUnit, end - start);
    for (const j of this.#bad) if (start <= j && j < end) units[j - start] = NaN;
  }

  override loadValues(b: number, g: number, start: number, end: number, scale: number) {
    if (this.#plain) return super.loadValues(b, g, start, end, scale);
    const { kernels } = this.engine;
    const { E, keyLength } = this.problem;
    const { panel } = this.buffers;
    const own = this.#own;
    const Ep = roundUp(E, 16);
    const bytes = this.#bytes.v, step = this.#step;
    // The units of a tile are those of all its keys, also of those that this chunk of rows doesn't see.
    const whole = Math.min(roundUp(end, 64), keyLength[b]);
    this.eachSlice(this.problem.v, b, g, start, whole, (j, rows, from) => {
      const at = j - start;
      const e4m3 = step !== null;
      const to = panel.v + at * (e4m3 ? roundUp(E, 8) : bytes ? Ep : 2 * Ep);
      (e4m3 ? kernels.pack_v_e4m3 : kernels.pack_v_i16)(
        ...[from, E, rows, E, to, own.meanV, this.#seen ? own.seen + j : 0] as const,
        ...[own.vUnit + at / 64 * (step ?? Ep * 4), step ?? this.#limits.v] as const,
      );
      if (bytes) kernels.narrow_i8(to, to, Math.ceil(rows / 64) * (Ep / 8) * 16, 8, 0, 0, 0);
    });
    return { poisoned: false, bits: 0 };
  }

  override scanValues(b: number, g: number, start: number, end: number): number {
    return this.#plain ? super.scanValues(b, g, start, end) : 0;
  }

  protected override run(task: number): void {
    this.engine.kernels.forward_i16(task);
  }

  override finish(b: number, g: number, r0: number, count: number, scale: number): void {
    super.finish(b, g, r0, count, this.#plain ? scale : this.#top);
  }

  override loadRows(b: number, g: number, r0: number, count: number): Span {
    this.keeps = this.#bad.size > 0 ? this.#sift : null;
    return super.loadRows(b, g, r0, count);
  }

  readonly #sift = (r: number, l: number): boolean => {
    if (!Number.isNaN(l)) return true;
    this.#left.add(r);
    return false;
  };

  protected override packRows(first: number, count: number, from: number): void {
    const { arena, kernels } = this.engine;
    const { D } = this.problem;
    const { sign, size } = this;
    const { at: { q } } = this.buffers;
    const { unit, shift, c, qSum, meanK, zeros } = this.#own;
    const at = first * 4;
    const to = q + first * (this.#bytes.qk ? D : roundUp(D, 2) * 2);
    kernels.pack_rows_i16(
      ...[from, D, count, D, to, 4, zeros, 0] as const,
      ...[unit + at, this.#limits.qk, sign] as const,
    );
    if (this.#bytes.qk) {
      kernels.narrow_i8(to, to, Math.ceil(count / 4) * (D / 4), 4, 0, qSum + at, D / 4);
    }
    kernels.dot_rows_f32(from, D, count, D, meanK, shift + at, sign);
    const padded = roundUp(count, 4);
    const units = arena.f32(unit + at, padded);
    const shifts = arena.f32(shift + at, padded);
    const cs = arena.f32(c + at, padded);
    const suspect = kernels.max_bits_f32(from, D, count, D) >= LARGE_QK;
    for (let r = 0; r < padded; r++) {
      const exponent = units[r] * size * LOG2E;
      cs[r] = this.#scores ? LOG2E : Math.min(Math.max(exponent, SMALLEST), LARGEST);
      units[r] *= size;
      shifts[r] = r < count ? shifts[r] * size : 0;
      if (suspect && r < count && kernels.max_bits_f32(from + r * D * 4, D, 1, D) >= LARGE_QK) {
        cs[r] = units[r] = NaN;
        this.keeps = this.#sift;
      }
    }
  }
}

/** Float32 for some rows of a head. */
class Exact extends ForwardCall {
  chosen: ReadonlySet<number> = new Set();
  protected override keeps = (r: number): boolean => this.chosen.has(r);
}
