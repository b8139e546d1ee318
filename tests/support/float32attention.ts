/**
 * Attention in an arithmetic whose every rounding is chosen by the test: to nearest float32, or as far off as a
 * rounding may be, in the direction that hurts most. Tiles, online softmax and lag as the kernels have them, so that
 * the bounds of src/verify can be tried on what they claim to cover.
 *
 * One row: q [D], K [M,D], V [M,E] → O [E], lse.
 */
import { exp, log } from "../../src/reference/math.ts";

const U = 2 ** -24;
const LOG2E = 1.4426950408889634;

/** Rounds x; `up` says which way hurts: +1, −1, or 0 where it doesn't matter. */
export type Rounding = (x: number, up: number) => number;

export const nearest: Rounding = (x) => Math.fround(x);
/** Every rounding errs by the whole unit roundoff. */
export const hostile: Rounding = (x, up) => x + up * U * Math.abs(x);

export interface Row {
  readonly q: ArrayLike<number>;
  readonly K: ArrayLike<number>;
  readonly V: ArrayLike<number>;
  readonly M: number;
  readonly D: number;
  readonly E: number;
  readonly scale: number;
  readonly softcap?: number;
  readonly bias?: ArrayLike<number>;
}

/** @param push For each key, the direction in which its weight hurts. */
export function attendRow(
  row: Row,
  round: Rounding,
  push: ArrayLike<number>,
): { out: number[]; lse: number } {
  const { V, M, E } = row;
  const plain = !row.softcap && !row.bias;
  const out = new Array<number>(E).fill(0);
  let m = -Infinity;
  let l = 0;
  for (let j0 = 0; j0 < M; j0 += 64) {
    const end = Math.min(M, j0 + 64);
    const s: number[] = [];
    for (let j = j0; j < end; j++) s.push(score(row, round, j, push[j], plain));
    const unit = plain ? row.scale : 1;
    const high = Math.max(m, ...s);
    const lag = (high - m) * unit * LOG2E;
    if (lag > 8) {
      const a = power(m - high, unit, round, -1);
      l = round(l * a, -1);
      for (let e = 0; e < E; e++) out[e] = round(out[e] * a, Math.sign(out[e]));
      m = high;
    }
    const sums = new Array<number>(16).fill(0);
    for (let j = j0; j < end; j++) {
      const p = power(s[j - j0] - m, unit, round, push[j]);
      sums[j % 16] = round(sums[j % 16] + p, -1);
      for (let e = 0; e < E; e++) {
        const term = round(p * V[j * E + e], 1);
        out[e] = round(out[e] + term, 1);
      }
    }
    for (let half = 8; half >= 1; half /= 2) {
      for (let n = 0; n < half; n++) sums[n] = round(sums[n] + sums[n + half], -1);
    }
    l = round(l + sums[0], -1);
  }
  const unit = plain ? Math.fround(row.scale) : 1;
  return { out: out.map((o) => round(o / l, 1)), lse: round(m * unit + log(l), 1) };
}

function score(row: Row, round: Rounding, j: number, up: number, plain: boolean): number {
  const { q, K, D, scale, softcap, bias } = row;
  let s = 0;
  for (let d = 0; d < D; d++) s = round(s + round(q[d] * K[j * D + d], up), up);
  if (plain) return s;
  let x = round(s * round(scale, up * Math.sign(s)), up);
  if (softcap) {
    const a = round(x / softcap, up);
    const t = 1 - 2 / (exp(2 * a) + 1);
    // tanh: 4 ulp, 8 roundoffs.
    x = round((round === nearest ? Math.fround(t) : t + up * 8 * U * Math.abs(t)) * softcap, up);
  }
  return bias ? round(x + bias[j], up) : x;
}

/** 2^(t·c), c = unit·log2 e, with the error that exp2 is allowed: 2.5 ulp, 5 roundoffs. */
function power(t: number, unit: number, round: Rounding, up: number): number {
  if (t === -Infinity) return 0;
  const c = round(unit * LOG2E, t < 0 ? -up : up);
  const p = exp(round(round(t, up) * c, up) / LOG2E);
  return round === nearest ? Math.fround(p) : p * (1 + up * 5 * U);
}
