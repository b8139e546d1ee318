/**
 * Planning: the tiles for a shape on a core, and what they cost. Numbers in, numbers out; no bit of a result depends
 * on any of it.
 */
import { type Cost, cost, type Shape, type Tiles } from "./cost.ts";
import type { Caches } from "./machine.ts";
import { BC, chooseTiles } from "./tiles.ts";

export type { Caches, Cost, Shape, Tiles };

/** A choice of tiles and its price. */
export interface Plan extends Cost {
  /** `bc`: keys of a tile, which the deterministic profile fixes. */
  readonly tiles: Tiles & { readonly bc: number };
  readonly caches: Caches;
  /** 2·(D + E) a pair. */
  readonly flops: number;
  /** Flops per byte delivered, level by level. */
  readonly intensity: Cost["bytes"];
}

/**
 * The tiles that the kernels use for an attention of this shape, and what they cost.
 *
 * @param shape Lengths and widths, and how far a row sees: `left: Infinity, right: 0, offset: M - N` if causal.
 * @param caches Bytes of a core's data caches; {@link measureCaches} finds them.
 * @returns `tiles`; `flops` and the `pairs` they are for; `bytes` that are delivered to the registers, to L1 and to L2;
 *   `intensity`, flops per byte; `resident`, the bytes counted on staying in L1 and L2; `seconds`, an estimate.
 *
 * @example
 * ```ts
 * import { plan } from "flashtile/plan";
 * const open = { left: Infinity, right: Infinity, offset: 0 };
 * const shape = { B: 1, H: 8, G: 8, N: 1024, M: 1024, D: 64, E: 64, ...open };
 * const { tiles, flops } = plan(shape, { l1: 49152, l2: 2 ** 20 });
 * console.log(flops / 1e9, tiles.bc); // 2.147483648 64
 * ```
 */
export function plan(shape: Shape, caches: Caches): Plan {
  const tiles = chooseTiles(shape, caches);
  const costs = cost(shape, tiles, caches);
  const { registers, l1, l2 } = costs.bytes;
  const flops = 2 * (shape.D + shape.E) * costs.pairs;
  const per = (bytes: number) => bytes > 0 ? flops / bytes : 0;
  return {
    ...costs,
    tiles: { ...tiles, bc: BC },
    caches,
    flops,
    intensity: { registers: per(registers), l1: per(l1), l2: per(l2) },
  };
}
