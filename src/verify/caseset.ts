/**
 * Seeded cases: random combinations of options on random shapes round the edges of tiles, expectations in float64
 * from the oracle. The same seed and number give the same bytes on every engine.
 */
import { type DType, encodeBFloat16, encodeFloat16 } from "../dtype.ts";
import type { FileTensor } from "../io/tensor.ts";
import type { AttentionOptions, Layout, Window } from "../options.ts";
import { createProblem } from "../problem.ts";
import { placeOut } from "../result.ts";
import { defaults, presets, type SemanticsName } from "../semantics.ts";
import { sizeOf } from "../tensor.ts";
import type { Case, OutputName } from "./case.ts";
import { computeCase } from "./check.ts";
import { oracle } from "./oracle.ts";

export interface SeededCase extends Case {
  /** What the case has, in words. */
  readonly tags: readonly string[];
}

type Options = { -readonly [name in keyof AttentionOptions]: AttentionOptions[name] };

const SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 67] as const;
const WIDTHS = [1, 3, 4, 8, 16, 20, 32, 64] as const;
const LARGE_M = [127, 128, 129, 191, 200] as const;

/** Case number `index` of a seed, with every output that it has. */
export function seededCase(seed: number, index: number): SeededCase {
  const draw = new Draw(sfc32(seed, index));
  const inputs = draw.inputs();
  const name = `${String(index).padStart(4, "0")}_${inputs.tags.join("_")}`;
  const content: Case = { ...inputs, name, expected: new Map() };
  const { tensors } = computeCase(content, oracle);
  const expected = new Map<OutputName, FileTensor>();
  for (const [output, tensor] of tensors) expected.set(output, { ...tensor, shape: [...tensor.shape] });
  return { ...content, expected, tags: inputs.tags };
}

/** Everything that is drawn. */
class Draw {
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  inputs(): Omit<SeededCase, "name" | "expected"> {
    const tags: string[] = [];
    const layout = this.#pick<Layout>(["bhnd", "bhnd", "bhnd", "bnhd", "thd"]);
    const dtype = this.#pick<DType>(["float32", "float32", "float16", "bfloat16"]);
    const B = 1 + this.#below(3);
    const G = this.#pick([1, 1, 2, 3]);
    const H = G * this.#pick([1, 1, 2, 4]);
    const N = this.#pick(SIZES);
    const M = this.#chance(0.2) ? this.#pick(LARGE_M) : this.#pick(SIZES);
    const D = this.#pick(WIDTHS);
    const E = this.#chance(0.2) ? this.#pick(WIDTHS) : D;
    if (layout !== "bhnd") tags.push(layout);
    tags.push(dtype === "float32" ? "f32" : dtype === "float16" ? "f16" : "bf16", `${N}x${M}`, `d${D}`);
    if (H > G) tags.push(G === 1 ? "mqa" : "gqa");

    const options: Options = {};
    const shapes = this.#shapes(layout, { B, H, G, N, M, D, E }, options);
    this.#masks(options, { B, H, N, M }, tags);
    this.#scores(options, { B, H, N, M }, dtype, tags);
    this.#rules(options, tags);
    const q = this.#normal(shapes.q, dtype, this.#pick([1, 1, 1, 4]));
    const k = this.#normal(shapes.k, dtype, 1);
    const v = this.#normal(shapes.v, dtype, 1);
    let dout: FileTensor | null = null;
    let dlse: FileTensor | null = null;
    if (this.#chance(0.6)) {
      const problem = createProblem(q, k, v, options);
      dout = this.#normal(placeOut(problem).shape, dtype, 1);
      tags.push("grad");
    }
    if (dout && this.#chance(0.2)) {
      const total = layout === "thd" ? [H, q.shape[0]] : [B, H, N];
      dlse = this.#normal(total, "float32", 1);
      tags.push("dlse");
    }
    return { q, k, v, options, dout, dlse, tags };
  }

  #shapes(layout: Layout, size: Sizes, options: Options): { q: number[]; k: number[]; v: number[] } {
    const { B, H, G, N, M, D, E } = size;
    options.layout = layout;
    if (layout === "bhnd") return { q: [B, H, N, D], k: [B, G, M, D], v: [B, G, M, E] };
    if (layout === "bnhd") return { q: [B, N, H, D], k: [B, M, G, D], v: [B, M, G, E] };
    const lengths = (most: number) =>
      Array.from({ length: B }, () => this.#chance(0.1) ? 0 : 1 + this.#below(most));
    const [n, m] = [lengths(N), lengths(M)];
    options.cuSeqlens = { q: int32([0, ...sums(n)]), k: int32([0, ...sums(m)]) };
    const [rows, keys] = [sums(n).at(-1)!, sums(m).at(-1)!];
    return { q: [rows, H, D], k: [keys, G, D], v: [keys, G, E] };
  }

  /** What hides keys. */
  #masks(options: Options, { B, H, N, M }: Pick<Sizes, "B" | "H" | "N" | "M">, tags: string[]): void {
    if (this.#chance(0.5)) {
      options.causal = true;
      tags.push("causal");
    }
    if (this.#chance(0.3)) {
      options.align = this.#pick(["top-left", "bottom-right", { offset: this.#below(M + 3) - 1 }] as const);
      tags.push(typeof options.align === "string" ? options.align : `off${options.align.offset}`);
    }
    if (this.#chance(0.25)) {
      const side = () => this.#chance(0.25) ? null : this.#below(M + 2);
      const pair = (): Window => [side(), side()];
      options.window = this.#chance(0.2) ? Array.from({ length: H }, pair) : pair();
      tags.push("win");
      if (this.#chance(0.3)) {
        options.sinkTokens = this.#below(4);
        tags.push("sinktok");
      }
    }
    if (this.#chance(0.1)) {
      options.chunk = 1 + this.#below(M);
      tags.push("chunk");
    }
    if (options.layout === "thd") return;
    if (this.#chance(0.2)) {
      const shape = [this.#pick([1, B]), this.#pick([1, H]), this.#pick([1, N]), M];
      const data = Uint8Array.from({ length: sizeOf(shape) }, () => this.#chance(0.75) ? 1 : 0);
      options.mask = { data, shape, dtype: "bool" };
      tags.push("mask");
    }
    if (this.#chance(0.15)) {
      options.keyLengths = int32(Array.from({ length: B }, () => this.#below(M + 1)));
      tags.push("lens");
    }
  }

  /** What changes scores. */
  #scores(
    options: Options,
    { B, H, N, M }: Pick<Sizes, "B" | "H" | "N" | "M">,
    dtype: DType,
    tags: string[],
  ): void {
    if (this.#chance(0.3)) {
      options.scale = this.#pick([0, 0.05, 0.25, 1]);
      tags.push(`scale${options.scale}`);
    }
    if (this.#chance(0.2)) {
      options.softcap = this.#pick([1, 5, 30]);
      tags.push(`cap${options.softcap}`);
    }
    if (this.#chance(0.2)) {
      options.alibiSlopes = this.#normal(this.#chance(0.3) ? [B, H] : [H], "float32", 0.25);
      tags.push("alibi");
    }
    if (this.#chance(0.2)) {
      options.sink = this.#normal([H], "float32", 2);
      tags.push("sink");
    }
    if (options.layout === "thd" || !this.#chance(0.2)) return;
    const shape = [this.#pick([1, B]), this.#pick([1, H]), this.#pick([1, N]), this.#pick([1, M, M])];
    const bias = this.#normal(shape, dtype, 1);
    if (this.#chance(0.5)) {
      const hidden = encoded(-Infinity, dtype);
      for (let x = 0; x < bias.data.length; x++) if (this.#chance(0.1)) bias.data[x] = hidden;
    }
    options.bias = bias;
    tags.push("bias");
  }

  #rules(options: Options, tags: string[]): void {
    options.semantics = { ...defaults, lseIncludesSink: this.#chance(0.3) };
    if (this.#chance(0.2)) {
      const name = this.#pick(Object.keys(presets) as SemanticsName[]);
      options.semantics = { ...presets[name], lseIncludesSink: false };
      tags.push(name);
    }
    if (this.#chance(0.08)) {
      options.dropout = { p: this.#pick([0.1, 0.5]), seed: this.#below(1 << 30) };
      tags.push("dropout");
    }
  }

  /** Nearly Gaussian: the sum of 12 uniform numbers − 6, times σ; no function that engines disagree on. */
  #normal(shape: number[], dtype: DType, sigma: number): FileTensor {
    const data = newArray(dtype, sizeOf(shape));
    for (let x = 0; x < data.length; x++) {
      let sum = -6;
      for (let n = 0; n < 12; n++) sum += this.#random();
      data[x] = encoded(sigma * sum, dtype);
    }
    return { data, shape, dtype };
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  #chance(p: number): boolean {
    return this.#random() < p;
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#below(list.length)];
  }
}

/**
 * Chris Doty-Humphrey's small fast counting generator (PractRand, sfc32): numbers in [0, 1), multiples of 2^−32, from
 * integer operations alone.
 */
function sfc32(seed: number, index: number): () => number {
  let a = seed | 0;
  let b = index | 0;
  let c = Math.floor(seed / 2 ** 32) | 0;
  let counter = 1;
  const next = () => {
    const t = (a + b | 0) + counter | 0;
    counter = counter + 1 | 0;
    a = b ^ b >>> 9;
    b = c + (c << 3) | 0;
    c = (c << 21 | c >>> 11) + t | 0;
    return (t >>> 0) / 2 ** 32;
  };
  // What its author lets pass before the state is well mixed.
  for (let n = 0; n < 15; n++) next();
  return next;
}

interface Sizes {
  B: number;
  H: number;
  G: number;
  N: number;
  M: number;
  D: number;
  E: number;
}

function newArray(dtype: DType, length: number): Float32Array | Uint16Array {
  return dtype === "float32" ? new Float32Array(length) : new Uint16Array(length);
}

function encoded(x: number, dtype: DType): number {
  return dtype === "float16" ? encodeFloat16(x) : dtype === "bfloat16" ? encodeBFloat16(x) : x;
}

function int32(values: readonly number[]): FileTensor {
  return { data: Int32Array.from(values), shape: [values.length], dtype: "int32" };
}

function sums(lengths: readonly number[]): number[] {
  let sum = 0;
  return lengths.map((n) => sum += n);
}
