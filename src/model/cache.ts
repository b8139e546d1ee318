/**
 * Keys and values of the tokens so far: one contiguous [capacity,G,D] matrix each a layer, in the back end's memory,
 * keys after RoPE. Rows are written in place by the forward pass; the length moves once, after all layers, so that a
 * pass that throws leaves the cache as it was. Bytes: 2·layers·capacity·G·D·element size.
 */
import type { LlamaConfig } from "./config.ts";
import type { Implementation } from "./implementation.ts";

export interface KeyValueCache<T> {
  /** Tokens it can hold, and holds. */
  readonly capacity: number;
  readonly length: number;
  /** [capacity,G,D] each. */
  layer(l: number): { readonly k: T; readonly v: T };
  /** Takes in the rows that were written behind the last. */
  grow(tokens: number): void;
  /** Forgets all tokens. */
  reset(): void;
}

export function createCache<T>(
  ops: Implementation<T>,
  { layers, kvHeads, headDim }: LlamaConfig,
  capacity: number,
): KeyValueCache<T> {
  const size = capacity * kvHeads * headDim;
  const pairs = Array.from({ length: layers }, () => ({ k: ops.allocate(size), v: ops.allocate(size) }));
  let length = 0;
  return {
    capacity,
    get length() {
      return length;
    },
    layer: (l) => pairs[l],
    grow: (tokens) => void (length += tokens),
    reset: () => void (length = 0),
  };
}
