/** How the operators of subgraphs read axes, shapes and positions. */
import { describe } from "../check.ts";
import { sizeOf } from "../tensor.ts";
import type { GraphContext, Ranged } from "./ranged.ts";

/** The elements of a tensor that steers: a shape, indices, axes. */
export function known({ lo, hi }: Ranged, { at }: GraphContext): number[] {
  if (lo.some((x, n) => x !== hi[n])) {
    throw new RangeError(`${at}: expected a shape that the scores don't decide`);
  }
  return Array.from(lo);
}

/** Position in row-major order → Σ index·step. */
export function walk(shape: readonly number[], steps: readonly number[]): (e: number) => number {
  const lengths = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
  return (e) => {
    let at = 0;
    for (let axis = 0, rest = e; axis < shape.length; axis++) {
      at += Math.floor(rest / lengths[axis]) * steps[axis];
      rest %= lengths[axis];
    }
    return at;
  };
}

/** An axis counted from either end. */
export function axisOf(axis: number, rank: number, { at }: GraphContext): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new RangeError(`${at}: axis: expected from ${-rank} to ${rank - 1}, got ${axis}`);
  }
  return axis < 0 ? axis + rank : axis;
}

/** An attribute that is an integer. */
export function integer({ at, attrs }: GraphContext, name: string, absent: number): number {
  const value = attrs[name] ?? absent;
  if (!Number.isInteger(value)) {
    throw new RangeError(`${at}: ${name}: expected an integer, got ${describe(value)}`);
  }
  return value as number;
}
