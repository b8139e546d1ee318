/**
 * The two-level I/O model: a fast memory of S words, everything else behind it; an algorithm costs the words it loads
 * and stores. One head, no mask, q [N,D], k [M,D], v [M,E]; counted exactly, tile edges included.
 *
 *   Saha & Ye, "The I/O complexity of attention" (arXiv 2402.07443): Θ(N·M·d²/S) words if S ≥ d², which FlashAttention
 *   attains, and Θ(N·M·d/√S) below, which square tiles with S and P written out attain; never less than the tensors.
 *
 * FlashAttention-1 keeps tiles of K and V and passes Q, O, m and l by them, FlashAttention-2 keeps tiles of Q and O
 * and passes K and V by: for the same S that moves a third of the words if D = E, Br large and Bc = 1 the best
 * (N·M·(D + E)/Br falls with Br, no term with Bc). So the planner keeps Br large and leaves Bc at the 64 that registers
 * and the softmax like.
 */
export interface IoShape {
  readonly N: number;
  readonly M: number;
  readonly D: number;
  readonly E: number;
}

/** Words moved, and the tiles they are moved in; Infinity if S holds not even the smallest. */
export interface Traffic {
  readonly br: number;
  readonly bc: number;
  readonly words: number;
}

/** What each algorithm moves, and the least there is. */
export interface IoModel {
  /** Words of fast memory. */
  readonly fast: number;
  readonly fa1: Traffic;
  readonly fa2: Traffic;
  readonly square: Traffic;
  /** Order of the least possible, without the theorem's constant, but at least the words of the tensors. */
  readonly bound: number;
}

/**
 * What three algorithms move for one head without a mask when `fast` words are near, and what nobody can go below.
 *
 * @returns Words and tiles of FlashAttention-1 and -2 and of square tiles; `bound` is the order of the least possible.
 *
 * @example
 * ```ts
 * import { ioModel } from "flashtile/plan";
 * const { fa1, fa2 } = ioModel({ N: 4096, M: 4096, D: 64, E: 64 }, 8192);
 * console.log((fa1.words / fa2.words).toFixed(1)); // 2.9
 * ```
 */
export function ioModel(shape: IoShape, fast: number): IoModel {
  return {
    fast,
    fa1: flashAttention1(shape, fast),
    fa2: flashAttention2(shape, fast),
    square: squareTiles(shape, fast),
    bound: lowerBound(shape, fast),
  };
}

/** Words of Q, K, V and O: each moves at least once. */
export function tensorWords({ N, M, D, E }: IoShape): number {
  return (N + M) * (D + E);
}

export function lowerBound(shape: IoShape, fast: number): number {
  const { N, M, D, E } = shape;
  const d = (D + E) / 2;
  return Math.max(tensorWords(shape), N * M * Math.min(d * d / fast, d / Math.sqrt(fast)));
}

/**
 * Algorithm 1 of FlashAttention with its own tiles, Bc = ⌈S/4d⌉ and Br = min(Bc, d): K and V once, and for each tile of
 * keys Q in, O in and out, m and l in and out. Its tiles alone fill S, so S_ij no longer fits: counted as published.
 */
export function flashAttention1({ N, M, D, E }: IoShape, fast: number): Traffic {
  const bc = Math.ceil(fast / (2 * (D + E)));
  const br = Math.min(bc, Math.ceil((D + E) / 2));
  return { br, bc, words: M * (D + E) + Math.ceil(M / bc) * N * (D + 2 * E + 4) };
}

/**
 * Algorithm 1 of FlashAttention-2: Q in, O and lse out once, K and V once for each block of Br rows. Q, O, m and l of
 * the block, one key (K, then V in its place) and its scores must fit; or all of K and V, if they do, once.
 */
export function flashAttention2({ N, M, D, E }: IoShape, fast: number): Traffic {
  const row = D + E + 2;
  const own = N * (D + E + 1);
  if (M * (D + E) + row + M <= fast) return { br: 1, bc: M, words: own + M * (D + E) };
  const br = Math.min(N, Math.floor((fast - Math.max(D, E)) / (row + 1)));
  if (br < 1) return { br: 0, bc: 0, words: Infinity };
  return { br, bc: 1, words: own + Math.ceil(N / br) * M * (D + E) };
}

/**
 * Three products of b × b tiles: S = Q·Kᵀ written out, exp in place with the row sums (m and l of b rows stay), O = P·V.
 * 3b² + 2b ≤ S.
 */
export function squareTiles({ N, M, D, E }: IoShape, fast: number): Traffic {
  const b = Math.floor((Math.sqrt(1 + 3 * fast) - 1) / 3);
  if (b < 1) return { br: 0, bc: 0, words: Infinity };
  const rows = Math.ceil(N / b), keys = Math.ceil(M / b);
  const scores = N * D * keys + M * D * rows + N * M;
  const weights = 2 * N * M;
  const values = N * M * Math.ceil(E / b) + M * E * rows + N * E + N;
  return { br: b, bc: b, words: scores + weights + values };
}
