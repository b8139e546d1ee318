/** A problem of attention from a seed: any options, shapes round the edges of tiles, numbers kind and unkind. */
import { encodeBFloat16, encodeFloat16 } from "../../src/dtype.ts";
import type { AttentionOptions } from "../../src/options.ts";
import { type Align, presets } from "../../src/semantics.ts";
import { BlockMask } from "../../src/sparse/blockmask.ts";
import type { TensorInput } from "../../src/tensor.ts";
import { Random } from "./random.ts";
import { coin, normal, size } from "./tensors.ts";

export interface AnyProblem {
  readonly q: TensorInput;
  readonly k: TensorInput;
  readonly v: TensorInput;
  readonly options: AttentionOptions;
}

/** Decisions drawn from a seed. */
class Dice {
  readonly #random: Random;
  constructor(seed: number) {
    this.#random = new Random(seed);
  }
  below(n: number): number {
    return this.#random.next() % n;
  }
  pick<T>(...values: readonly T[]): T {
    return values[this.below(values.length)];
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  seed(): number {
    return this.#random.next();
  }
}

export function anyProblem(seed: number): AnyProblem {
  const dice = new Dice(seed);
  const layout = dice.pick("bhnd", "bhnd", "bhnd", "bnhd", "thd");
  const B = dice.pick(1, 1, 1, 2);
  const G = dice.pick(1, 1, 2);
  const H = G * dice.pick(1, 1, 2, 3);
  const N = dice.pick(0, 1, 1, 2, 3, 4, 5, 7, 9, 13, 17);
  const M = dice.pick(0, 1, 2, 5, 15, 16, 17, 31, 33, 63, 64, 65, 127, 130);
  const D = dice.pick(1, 2, 3, 4, 5, 8, 16, 20, 33);
  const E = dice.chance(50) ? D : dice.pick(1, 4, 7, 8, 9, 24);
  const options: { -readonly [name in keyof AttentionOptions]: AttentionOptions[name] } = {
    ...visibility(dice, H),
    ...scoring(dice, H, B),
  };
  if (dice.chance(15)) options.dropout = { p: dice.pick(0, 0.1, 0.5, 0.9), seed: dice.seed() * 2 ** 20 };
  if (dice.chance(15)) options.probabilities = true;
  const dtype = dice.pick("float32", "float32", "float32", "float16", "bfloat16");
  const sharp = dice.pick(0.1, 1, 1, 1, 1.5, 4, 30);
  const make = (order: readonly number[], scale = 1) =>
    stored(dice, normal(dice.seed(), order, scale), dtype);

  if (layout === "thd") {
    const cut = (total: number) => {
      const inner = [dice.below(total + 1), dice.below(total + 1)].sort((a, b) => a - b);
      return Int32Array.of(0, ...inner, total);
    };
    options.layout = layout;
    options.cuSeqlens = { q: cut(N), k: cut(M) };
    if (options.alibiSlopes && "data" in options.alibiSlopes) delete options.alibiSlopes;
    return { q: make([N, H, D], sharp), k: make([M, G, D]), v: make([M, G, E]), options };
  }
  options.layout = layout;
  const shape = [B, H, N, M];
  if (dice.chance(20)) options.bias = bias(dice, shape);
  if (dice.chance(20)) {
    const dims = dice.pick([B, 1, N, M], [1, H, N, M], [M], [B, 1, 1, M], [H, N, 1]);
    options.mask = coin(dice.seed(), dims, dice.pick(0.05, 0.5, 0.9, 1));
  } else if (dice.chance(15)) {
    const dims = dice.pick([N, M], [H, N, M], [B, 1, N, M], shape);
    const rows = dice.pick(1, 2, 3, 8, 64), keys = dice.pick(64, 128);
    options.mask = BlockMask.fromTensor(coin(dice.seed(), dims, dice.pick(0.02, 0.5, 1)), undefined, {
      rows,
      keys,
    });
  }
  if (dice.chance(15)) options.keyLengths = Int32Array.from({ length: B }, () => dice.below(M + 1));
  const order = (heads: number, rows: number, width: number) =>
    layout === "bnhd" ? [B, rows, heads, width] : [B, heads, rows, width];
  const q = make(order(H, N, D), sharp), k = make(order(G, M, D)), v = make(order(G, M, E));
  if (dtype === "float32" && dice.chance(25)) unkind(dice, q, k, v, M, options);
  return { q, k, v, options };
}

/** Which keys a row sees. */
function visibility(dice: Dice, H: number): AttentionOptions {
  const side = () => dice.pick(null, null, 0, 1, 3, 16, 70);
  const window = (): [number | null, number | null] => [side(), side()];
  return {
    ...dice.chance(40) && { causal: true },
    ...dice.chance(30) &&
      { align: dice.pick<Align>("top-left", "bottom-right", { offset: dice.below(90) - 40 }) },
    ...dice.chance(20) && { window: dice.chance(30) ? Array.from({ length: H }, window) : window() },
    ...dice.chance(15) &&
      { sinkTokens: dice.chance(30) ? Array.from({ length: H }, () => dice.below(80)) : dice.below(5) },
    ...dice.chance(10) && { chunk: 1 + dice.below(70) },
  };
}

/** What becomes of a score. */
function scoring(dice: Dice, H: number, B: number): AttentionOptions {
  const slopes = (n: number) =>
    Float32Array.from({ length: n }, () => dice.pick(0, 2 ** -8, 0.1, 0.5, 2, -0.2));
  const switches = () =>
    dice.pick(
      { alibi: "relative" as const, emptyRow: "mean" as const, lseIncludesSink: false },
      { softcap: "after-alibi" as const, lseBase: "2" as const, emptyLse: "+inf" as const },
      { alibi: "bias" as const, emptyRow: "nan" as const, openWindow: "keys" as const },
    );
  return {
    ...dice.chance(20) && { softcap: dice.pick(0.3, 2, 30) },
    ...dice.chance(20) &&
      { alibiSlopes: dice.chance(70) ? slopes(H) : { data: slopes(B * H), shape: [B, H] } },
    ...dice.chance(20) &&
      { sink: Float32Array.from({ length: H }, () => dice.pick(-Infinity, -200, -3, 0, 1, 5, 90)) },
    ...dice.chance(20) && { scale: dice.pick(0, 0.1, 1, -0.25, 1e-30, 1e-44) },
    ...dice.chance(25) && {
      semantics: dice.chance(70)
        ? dice.pick(...Object.keys(presets) as (keyof typeof presets)[])
        : switches(),
    },
  };
}

function bias(dice: Dice, [B, H, N, M]: readonly number[]): TensorInput {
  const made = normal(
    dice.seed(),
    dice.pick([B, H, N, M], [1, 1, N, M], [H, 1, M], [N, 1], [M]),
    dice.pick(1, 5, 300),
  );
  const extreme = dice.pick(null, null, -Infinity, -3.4028234663852886e38, 1e4, -1e4);
  if (extreme !== null) made.data.forEach((_, x) => dice.below(5) === 0 && (made.data[x] = extreme));
  return stored(
    dice,
    made,
    Math.abs(extreme ?? 0) > 65504 ? "float32" : dice.pick("float32", "float16", "bfloat16"),
  );
}

/** The numbers as a dtype has them; now and then as a view with gaps, or in reverse. */
function stored(
  dice: Dice,
  { data, shape }: { data: Float32Array | Float64Array | Uint8Array; shape: readonly number[] },
  dtype: "float32" | "float16" | "bfloat16",
): TensorInput & { data: Float32Array | Uint16Array } {
  const rank = shape.length;
  const strides = shape.map((_, axis) => size(shape.slice(axis + 1)));
  let numbers = Float32Array.from(data), offset = 0;
  if (dice.chance(15)) {
    const gap = dice.pick(2, 3);
    const wide = new Float32Array(numbers.length * gap).fill(NaN);
    numbers.forEach((x, at) => wide[at * gap] = x);
    numbers = wide;
    strides.forEach((_, axis) => strides[axis] *= gap);
  } else if (dice.chance(5) && numbers.length > 0) {
    numbers.reverse();
    strides.forEach((_, axis) => strides[axis] *= -1);
    offset = numbers.length - 1;
  }
  const words = dtype === "float32"
    ? numbers
    : Uint16Array.from(numbers, dtype === "float16" ? encodeFloat16 : encodeBFloat16);
  return { data: words, dtype, shape: [...shape], ...rank > 0 && { strides, offset } };
}

/** What arithmetic treats apart, in tensors of float32. */
function unkind(
  dice: Dice,
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  M: number,
  options: { -readonly [name in keyof AttentionOptions]: AttentionOptions[name] },
): void {
  const each = (t: TensorInput, f: (x: number) => number) => {
    const data = t.data as Float32Array;
    data.forEach((x, at) => data[at] = f(x));
  };
  switch (dice.below(9)) {
    case 0: // V at the end of float32
      return each(v, (x) => x < 0 ? -3e38 : 3e38);
    case 1:
      return each(v, (x) => x * 2 ** dice.pick(87, 88, 89, 100));
    case 2: // denormals
      return each(v, (x) => x * 1e-41);
    case 3:
      each(q, (x) => x * 1e-40);
      return each(k, (x) => x * 1e38);
    case 4: // scores far below −10^4 and far above
      return each(q, (x) => x * 3000);
    case 5: { // maxima that rise or fall from key to key
      const slope = dice.pick(3, -3, 0.01, 40);
      options.bias ??= { data: Float32Array.from({ length: M }, (_, j) => slope * j), shape: [M] };
      return;
    }
    case 6:
      return each(q, () => 0);
    case 8: // products beyond float32
      each(q, (x) => x * 1e20);
      each(k, (x) => x * 1e19);
      options.scale = dice.pick(1e-39, -1e-40, 1e-42);
      return;
    case 7: // one NaN: its row, or its column of V; the oracle drops NaN too
      if (options.dropout) return;
      if (dice.chance(50)) (q.data as Float32Array)[dice.below(q.data.byteLength / 4 || 1)] = NaN;
      else (v.data as Float32Array)[dice.below(v.data.byteLength / 4 || 1)] = NaN;
  }
}
