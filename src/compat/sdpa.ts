/**
 * PyTorch's signature: torch.nn.functional.scaled_dot_product_attention.
 *
 * Its rules are the preset "sdpa": a top-left diagonal, 0 for rows that see nothing.
 */
import { flag } from "../check.ts";
import type { AttentionResult } from "../result.ts";
import { type TensorInput, type View, view } from "../tensor.ts";
import { type Attention, expectNames, given } from "./names.ts";

/** Keyword arguments of scaled_dot_product_attention, in camel case. */
export interface SdpaOptions {
  /** Boolean, true may attend, or floating, added to the scores; broadcast to [..., H, L, S]. */
  readonly attnMask?: TensorInput | null;
  readonly dropoutP?: number;
  /** From the top left; not together with attnMask. */
  readonly isCausal?: boolean;
  /** 1/√E unless given. */
  readonly scale?: number | null;
  /** Lets key and value have fewer heads than query. */
  readonly enableGqa?: boolean;
  /** PyTorch draws from a global generator; here the mask is a function of this, 0 unless given. */
  readonly seed?: number;
}

/** query [..., H, L, E], key [..., G, S, E], value [..., G, S, Ev] → [..., H, L, Ev]; two to four axes. */
export type Sdpa = (
  query: TensorInput,
  key: TensorInput,
  value: TensorInput,
  options?: SdpaOptions,
) => AttentionResult["out"];

const NAMES = ["attnMask", "dropoutP", "isCausal", "scale", "enableGqa", "seed"];

/**
 * PyTorch's scaled_dot_product_attention over an implementation of attention.
 *
 * @example
 * ```ts
 * import { sdpaOf } from "flashtile/compat";
 * import { attention } from "flashtile/reference";
 * const sdpa = sdpaOf(attention);
 * const x = { data: new Float32Array([1, 2, 3]), shape: [3, 1] };
 * console.log(sdpa(x, x, x, { isCausal: true }).data[0]); // 1
 * ```
 */
export function sdpaOf(attention: Attention): Sdpa {
  return (query, key, value, options = {}) => {
    expectNames(options, NAMES);
    const q = fourAxes("query", query);
    const k = fourAxes("key", key);
    const v = fourAxes("value", value);
    const mask = options.attnMask ?? null;
    const causal = flag("isCausal", options.isCausal);
    if (causal && mask !== null) throw new RangeError("attnMask: expected none with isCausal, got one");
    if (!flag("enableGqa", options.enableGqa) && k.shape[1] !== q.shape[1]) {
      throw new RangeError(`key: expected ${q.shape[1]} heads, got ${k.shape[1]}; fewer need enableGqa`);
    }
    const dropout = options.dropoutP ? { p: options.dropoutP, seed: options.seed ?? 0 } : null;
    const boolean = mask !== null && view("attnMask", mask).dtype === "bool";
    const { out } = attention(q, k, v, {
      ...{ semantics: "sdpa", causal },
      ...given({ scale: options.scale, dropout, mask: boolean ? mask : null, bias: boolean ? null : mask }),
    });
    // The axes that were put in front.
    const added = 4 - view("query", query).shape.length;
    return { ...out, shape: out.shape.slice(added) };
  };
}

function fourAxes(name: string, input: TensorInput): View {
  const source = view(name, input);
  const added = 4 - source.shape.length;
  if (added < 0 || added > 2) {
    throw new RangeError(`${name}: expected two to four axes [..., L, E], got [${source.shape}]`);
  }
  return {
    ...source,
    shape: [...new Array(added).fill(1), ...source.shape],
    strides: [...new Array(added).fill(0), ...source.strides],
  };
}
