/**
 * The arithmetics that a back end may compute in, as the error analysis sees them (docs/error-bounds.md §2): how far
 * each kind of operation may be from exact. All counts are in units of the roundoff u.
 */

export interface Arithmetic {
  readonly name: "float64" | "float32";
  /** Unit roundoff: fl(x) = x(1 + θ), |θ| ≤ u. */
  readonly u: number;
  /** Half the least subnormal: what rounding may add where u|x| is less than that. */
  readonly eta: number;
  /** The largest finite number. */
  readonly max: number;
  /** Where |scale| is below `from`, Q may be divided by up to `by` so that q·k stays below `max`. */
  readonly halve: { readonly from: number; readonly by: number };
  /** e^x (or 2^t) of an exact argument: relative error exp·u … */
  readonly exp: number;
  /** The same for weights that become codes. */
  readonly expOfCodes: number;
  /** … where the result is at least this; below it may be anything from 0 to it. */
  readonly least: number;
  /** Relative error of tanh. */
  readonly tanh: number;
  /** lse = m + ln l: relative error of m as it is used there, of ln l. */
  readonly join: number;
  readonly ln: number;
  /** Keys of a tile; tiles start at its multiples. Maximum, rescaling and l go on from tile to tile. */
  readonly tile: number;
  /** Additions one behind the other that a weight goes through within its tile. */
  readonly depth: number;
  /** Keys of a split, whose state is merged with those before it. */
  readonly split: number;
  /** The maximum that weights refer to may lag behind the true one by this (natural units). */
  readonly lag: number;
  /** Where some |v| is at least `from`, V is divided by `by` and the result multiplied. */
  readonly shrink: { readonly from: number; readonly by: number };
  /** Q, K, P and V are quantised as the problem's `precision` says (quantisation.ts). */
  readonly quantised?: boolean;
}

/**
 * The oracle: src/reference/math.ts promises 0.53 ulp, and one ulp is at most 2u. It sums a row's weights one by one,
 * as if each key were a tile.
 */
export const FLOAT64: Arithmetic = {
  name: "float64",
  u: 2 ** -53,
  eta: 2 ** -1074,
  max: Number.MAX_VALUE,
  halve: { from: 0, by: 1 },
  exp: 1.1,
  expOfCodes: 1.1,
  least: 2 ** -1022,
  tanh: 1.1,
  join: 0,
  ln: 1.1,
  tile: 1,
  depth: 1,
  split: Infinity,
  lag: 0,
  shrink: { from: Infinity, by: 1 },
};

/**
 * The kernels, both builds. exp: 2.5 ulp (assembly/math/exp2.ts), tanh: 4 ulp (assembly/math/tanh.ts), one ulp is at
 * most 2u. finish_f32 puts lse together in float64 from m and the float32 scale. A tile's 64 weights go into 16 sums
 * (3 additions), these into one (4), that into l (1): assembly/tile/softmax_f32_4x64.ts, which also lets the maximum
 * grow by 2^8 before it rescales. assembly/tile/softmax_i16_4x64.ts has two factors of 2.9e-6 to a
 * weight. src/ops/panel.ts shrinks V, src/ops/halvings.ts Q; src/ops/decode.ts cuts splits.
 */
export const FLOAT32: Arithmetic = {
  name: "float32",
  u: 2 ** -24,
  eta: 2 ** -150,
  max: 3.4028234663852886e38,
  halve: { from: 2 ** -28, by: 2 ** 143 },
  exp: 5,
  expOfCodes: 110,
  least: 2 ** -126,
  tanh: 8,
  join: 1.01,
  ln: 0.01,
  tile: 64,
  depth: 8,
  split: 2048,
  lag: 8 * 0.6931471805599453,
  shrink: { from: 2 ** 88, by: 2 ** 40 },
};

/** Half a unit in the last place and half the least subnormal of a stored format. */
export const STORED: Readonly<Record<string, { readonly u: number; readonly eta: number }>> = {
  float64: { u: 2 ** -53, eta: 2 ** -1074 },
  float32: { u: 2 ** -24, eta: 2 ** -150 },
  float16: { u: 2 ** -11, eta: 2 ** -25 },
  bfloat16: { u: 2 ** -8, eta: 2 ** -134 },
};
