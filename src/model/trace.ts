/**
 * The attention that a model really computed: queries and results of every token and layer, as they came out of the
 * back end, whichever kernel made them. 8·tokens·layers·H·D bytes in float32.
 */
import type { Recipe } from "../precision.ts";
import type { Observer } from "./forward.ts";
import type { Values } from "./implementation.ts";

/** Rows [tokens,H,D] of one layer that were computed in one precision; `recipe` null: float32. */
export interface TracedRows {
  readonly q: Values;
  readonly out: Values;
  readonly recipe: Recipe | null;
}

export class AttentionTrace {
  readonly #layers: TracedRows[][] = [];

  /** Hand it to `LanguageModel.observer`. */
  readonly observe: Observer = (layer, q, out, recipe) => {
    (this.#layers[layer] ??= []).push({ q, out, recipe });
  };

  /** All rows of a layer so far. */
  layer(l: number): { q: Values; out: Values } {
    return joined(this.#layers[l]);
  }

  /**
   * The same cut where precision changes. Each quantised pass is on its own: scales and means are those of the keys
   * that it saw.
   */
  passes(l: number): TracedRows[] {
    const passes: TracedRows[] = [];
    let exact: TracedRows[] = [];
    const flush = () => {
      if (exact.length > 0) passes.push({ ...joined(exact), recipe: null });
      exact = [];
    };
    for (const rows of this.#layers[l]) {
      if (rows.recipe === null) exact.push(rows);
      else {
        flush();
        passes.push(rows);
      }
    }
    flush();
    return passes;
  }
}

function joined(rows: readonly TracedRows[]): { q: Values; out: Values } {
  return { q: concatenate(rows.map(({ q }) => q)), out: concatenate(rows.map(({ out }) => out)) };
}

function concatenate(parts: readonly Values[]): Values {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const all = parts[0] instanceof Float32Array ? new Float32Array(length) : new Float64Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
