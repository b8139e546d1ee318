/** Shape checks of the operations that take plain arrays: lengths against dimensions, in elements. */

export function expectCount(name: string, n: number): void {
  if (!Number.isInteger(n) || n < 0) throw new RangeError(`${name}: expected an integer ≥ 0, got ${n}`);
}

export function expectLength(name: string, array: { length: number }, shape: readonly number[]): void {
  const count = shape.reduce((product, n) => product * n, 1);
  if (array.length !== count) {
    throw new RangeError(`${name}: expected [${shape}] = ${count} elements, got ${array.length}`);
  }
}
