/**
 * The tiles of least cost (cost.ts) within the memory and the time between two breaths that a call may take. A search
 * over a few dozen candidates in closed form: a microsecond or two, whatever the lengths.
 */
import { cost, padded, pairTime, type Shape, type Tiles } from "./cost.ts";
import type { Caches } from "./machine.ts";

/** Bytes of linear memory for a packed panel and a chunk's Q, O, m, l, lse and bounds. */
const MEMORY = 2.5 * 2 ** 20;
/** Bytes for the bias and masks of a chunk × panel. */
export const STAGED = 2 ** 19;
/** Seconds of a chunk × panel: the slices in which a call can be aborted. */
const STEP = 0.01;
/** Keys of a tile: a constant of the deterministic profile. */
export const BC = 64;
const BR = [16, 32, 64, 128, 256];
/** Bytes of panels worth a try, 0 for half of L2. */
const PANELS = [2 ** 21, 1.5 * 2 ** 20, 2 ** 20, 2 ** 19, 0];

/** Chooses for a shape and a core. */
export function chooseTiles(shape: Shape, caches: Caches): Tiles {
  const { H, G, N, M, D, E, staged = 0 } = shape;
  const width = 4 * (D + padded(E));
  const rows = Math.max(4, Math.ceil(N * (G && H / G) / 4) * 4);
  const all = Math.max(1, Math.ceil(M / BC)) * BC;
  const whole = (n: number) => Math.max(1, Math.floor(n / BC)) * BC;
  let best: Tiles | undefined;
  let least = Infinity;
  let last = 0;
  for (const bytes of PANELS) {
    const fit = (bytes || caches.l2 / 2) / width;
    const panelKeys = Math.min(all, whole(fit));
    if (panelKeys === last) continue;
    last = panelKeys;
    const tallest = Math.min(
      (MEMORY - panelKeys * width) / (width + 48),
      STEP / (pairTime(width / 4) * panelKeys),
      STAGED / (staged * (panelKeys + 16)),
    );
    const chunkRows = Math.min(rows, whole(tallest));
    for (const block of BR) {
      const tiles = { br: Math.min(block, chunkRows), chunkRows, panelKeys };
      const { seconds } = cost(shape, tiles, caches);
      if (seconds < least) [best, least] = [tiles, seconds];
      if (block >= chunkRows) break;
    }
  }
  return best as Tiles;
}
