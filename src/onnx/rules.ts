/**
 * What elementwise functions make of intervals: a rule takes the box [lo, hi] of its arguments to an interval that
 * holds the function's values, exactly before rounding.
 *
 * A function that is monotone in each argument takes ends to ends; a product takes its extremes at corners; what is
 * neither has a rule of its own.
 */
import { pow } from "../reference/math.ts";

/** Writes the image of the box to `image`; `integer` is for functions that differ on integers. */
export type Rule = (lo: readonly number[], hi: readonly number[], integer: boolean) => void;

/** Where rules leave their result. */
export const image = new Float64Array(2);

/** f rises (+1) or falls (−1) with each argument. */
export function monotone(signs: readonly (1 | -1)[], f: (x: number[], integer: boolean) => number): Rule {
  return (lo, hi, integer) => {
    image[0] = f(lo.map((x, n) => signs[n % signs.length] > 0 ? x : hi[n]), integer);
    image[1] = f(lo.map((x, n) => signs[n % signs.length] > 0 ? hi[n] : x), integer);
  };
}

/** Linear in each of two arguments alone: the extremes are at corners. */
export function corners(f: (a: number, b: number, integer: boolean) => number): Rule {
  return (lo, hi, integer) => {
    const values = [f(lo[0], lo[1], integer)];
    if (lo[0] !== hi[0] || lo[1] !== hi[1]) {
      values.push(f(lo[0], hi[1], integer), f(hi[0], lo[1], integer), f(hi[0], hi[1], integer));
    }
    image[0] = Math.min(...values);
    image[1] = Math.max(...values);
  };
}

/** Anything, where nothing better is known of an interval that isn't a point. */
export function pointwise(
  f: (x: readonly number[], integer: boolean) => number,
  least = -Infinity,
  most = Infinity,
): Rule {
  return (lo, hi, integer) => {
    const point = lo.every((x, n) => Object.is(x, hi[n]));
    image[0] = point ? f(lo, integer) : least;
    image[1] = point ? image[0] : most;
  };
}

export const rising = (f: (x: number) => number) => monotone([1], ([x]) => f(x));

const divide = corners((a, b, integer) => integer ? Math.trunc(a / b) : a / b);

export const division: Rule = (lo, hi, integer) => {
  // A divisor that may be 0 on both sides leaves nothing known.
  if (lo[1] < 0 && hi[1] > 0) {
    image[0] = -Infinity;
    image[1] = Infinity;
  } else divide(lo, hi, integer);
};

export const absolute: Rule = (lo, hi) => {
  const a = Math.abs(lo[0]);
  const b = Math.abs(hi[0]);
  image[0] = lo[0] < 0 && hi[0] > 0 ? 0 : Math.min(a, b);
  image[1] = Math.max(a, b);
};

/** |f'| ≤ 1 and |f| ≤ 1. */
export function wave(f: (x: number) => number): Rule {
  return (lo, hi) => {
    const middle = f((lo[0] + hi[0]) / 2);
    const reach = (hi[0] - lo[0]) / 2;
    image[0] = Math.max(-1, middle - reach);
    image[1] = Math.min(1, middle + reach);
  };
}

export const equal: Rule = (lo, hi) => {
  const apart = hi[0] < lo[1] || hi[1] < lo[0];
  const point = lo[0] === hi[0] && lo[1] === hi[1];
  image[0] = point && lo[0] === lo[1] ? 1 : 0;
  image[1] = apart || lo[0] !== lo[0] || lo[1] !== lo[1] ? 0 : point ? image[0] : 1;
};

export const power: Rule = (lo, hi, integer) => {
  if (lo[0] >= 0) corners(pow)(lo, hi, integer);
  else if (lo[1] === hi[1] && Number.isInteger(lo[1]) && lo[1] >= 0) {
    if (lo[1] % 2 === 1) monotone([1], ([x]) => pow(x, lo[1]))(lo, hi, integer);
    else {
      absolute(lo, hi, integer);
      image[0] = pow(image[0], lo[1]);
      image[1] = pow(image[1], lo[1]);
    }
  } else pointwise(([a, b]) => pow(a, b))(lo, hi, integer);
};

/** The first argument chooses; where it may be either, the hull. */
export const where: Rule = (lo, hi) => {
  const yes = hi[0] === 1;
  const no = lo[0] === 0;
  image[0] = yes && no ? Math.min(lo[1], lo[2]) : yes ? lo[1] : lo[2];
  image[1] = yes && no ? Math.max(hi[1], hi[2]) : yes ? hi[1] : hi[2];
};

/** Nearest integer, ties to even. */
export function roundEven(x: number): number {
  const r = Math.round(x);
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r;
}
