/** What the planner knows of a machine: how much a core's data caches hold. */

/** Bytes of the first and second level data cache of one core. */
export interface Caches {
  readonly l1: number;
  readonly l2: number;
}

/** What even small cores have: assumed where nothing was given or could be measured. */
export const SMALL_CACHES: Caches = { l1: 2 ** 15, l2: 2 ** 18 };

/** Time of one dependent load when the working set is so large. */
export interface Latency {
  readonly bytes: number;
  readonly ns: number;
}

/** A level ends where a load takes so many times what it takes within: L2 is about 3 times as far as L1, L3 again. */
const END_OF_L1 = 1.4;
const END_OF_L2 = 2;

/**
 * Reads the caches off a curve of ascending sizes: two plateaus. Disturbances only ever slow a run down and a larger
 * set is no faster, so each latency counts as the least from there on. Null if no L1 shows; an L2 whose end the curve
 * does not reach is as large as the curve knows.
 */
export function cachesOf(curve: readonly Latency[]): Caches | null {
  const { l1, l2 } = ends(curve);
  return l1 < 1
    ? null
    : { l1: curve[l1 - 1].bytes, l2: Math.max(curve[l2 - 1].bytes, 2 * curve[l1 - 1].bytes) };
}

/** True once larger sizes could not change the answer: two of them lie beyond L2. */
export function isComplete(curve: readonly Latency[]): boolean {
  return ends(curve).l2 < curve.length - 1;
}

/** How many sizes of the curve fit L1, and L2; l1 = 0 if they all do. */
function ends(curve: readonly Latency[]): { l1: number; l2: number } {
  const least = curve.map(({ ns }) => ns);
  for (let x = least.length - 2; x >= 0; x--) least[x] = Math.min(least[x], least[x + 1]);
  const l1 = least.findIndex((ns) => ns > END_OF_L1 * least[0]);
  if (l1 < 1) return { l1: 0, l2: curve.length };
  // The first size beyond L1 may be half in it: the plateau is what comes next.
  const plateau = least[Math.min(l1 + 1, least.length - 1)];
  const l2 = least.findIndex((ns) => ns > END_OF_L2 * plateau);
  return { l1, l2: l2 < 0 ? curve.length : l2 };
}
