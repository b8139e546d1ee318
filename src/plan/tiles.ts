/**
 * The tiles of least cost (cost.ts) within the memory and the time between two breaths that a call may take. A search
 * over a few dozen candidates in closed form, 1 µs for a small call and 2 for a large one; a hundred, 20 to 60 µs, where
 * a mask lets a large call see part of its keys.
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
const BR = [4, 8, 16, 32, 64, 128, 256];
/** Bytes of panels worth a try, the largest allowed first; 0 for half of L2. */
const PANELS = [2 ** 21, 1.5 * 2 ** 20, 2 ** 20, 2 ** 19, 0];

/** Bytes of a panel's key or a chunk's row. */
function widthOf({ D, E }: Shape): number {
  return 4 * (D + padded(E));
}

/** The most rows of a chunk, beside panels of so many keys, that keep the limits of memory and time. */
export function tallest(shape: Shape, panelKeys: number): number {
  const width = widthOf(shape);
  if (panelKeys * width > PANELS[0]) return 0;
  return Math.min(
    (MEMORY - panelKeys * width) / (width + 48),
    STEP / (pairTime(width / 4) * panelKeys),
    STAGED / ((shape.staged ?? 0) * (panelKeys + 16)),
  );
}

/** Chooses for a shape and a core. */
export function chooseTiles(shape: Shape, caches: Caches): Tiles {
  const { H, G, N, M, left, right, staged = 0 } = shape;
  const width = widthOf(shape);
  const rows = Math.max(4, Math.ceil(N * (G && H / G) / 4) * 4);
  const all = Math.max(1, Math.ceil(M / BC)) * BC;
  const whole = (n: number) => Math.max(1, Math.floor(n / BC)) * BC;
  let best: Tiles | undefined;
  let least = Infinity;
  const weigh = (panelKeys: number, most = rows) => {
    const chunkRows = Math.min(most, whole(tallest(shape, panelKeys)));
    for (const block of BR) {
      const tiles = { br: Math.min(block, chunkRows), chunkRows, panelKeys };
      const { seconds } = cost(shape, tiles, caches);
      if (seconds < least) [best, least] = [tiles, seconds];
      if (block >= chunkRows) break;
    }
  };
  const masked = left < Infinity || right < Infinity || staged > 0;
  // All at once where it fits half of L2: nothing is cheaper, and a search takes 0.8 ms of a cold start.
  if (!masked && (all + rows) * width <= caches.l2 / 2) {
    return { br: Math.min(BC, rows), chunkRows: rows, panelKeys: all };
  }
  let last = 0;
  for (const bytes of PANELS) {
    const panelKeys = Math.min(all, whole((bytes || caches.l2 / 2) / width));
    if (panelKeys !== last) weigh(panelKeys);
    last = panelKeys;
  }
  // A panel that holds all keys is packed whole, smaller ones only as far as a row of the chunk sees; and where bias or
  // masks lie ready, fewer keys leave room for more rows. A step that sees little of a tall chunk wants a lower one.
  if (masked) {
    for (let keys = BC; keys < all && keys * width <= PANELS[0]; keys *= 2) weigh(keys);
    const { panelKeys } = best as unknown as Tiles;
    for (let most = BC; most < rows; most *= 2) weigh(panelKeys, most);
  }
  return best as Tiles;
}
