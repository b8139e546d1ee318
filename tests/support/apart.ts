/** How far two arrays of numbers are apart. */
import { expect } from "vitest";

/** Largest |a − b|; NaN if any is. */
export function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const error = Math.abs(a[i] - b[i]);
    if (!(error <= most)) most = error;
  }
  return most;
}
