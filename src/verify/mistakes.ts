/**
 * The mistakes that implementations of attention make, as changes of a case: if the oracle, given the changed case,
 * reproduces a wrong result within the bounds, the mistake explains it.
 */
import type { FileTensor } from "../io/tensor.ts";
import type { AttentionOptions, Window } from "../options.ts";
import { createProblem } from "../problem.ts";
import { defaults, type Semantics } from "../semantics.ts";
import { BYTES } from "../dtype.ts";
import { type Arithmetic, FLOAT32 } from "./arithmetic.ts";
import type { Case, OutputName } from "./case.ts";
import { boundsOf, computeCase } from "./check.ts";
import { compare } from "./compare.ts";
import { oracle } from "./oracle.ts";

export interface Mistake {
  readonly title: string;
  /** The case as the mistake sees it, or null where the mistake changes nothing. */
  change(content: Case): Case | null;
}

type Options = { -readonly [name in keyof AttentionOptions]: AttentionOptions[name] };

/** A mistake in the options; `change` edits a copy, and returns false where it doesn't apply. */
function inOptions(title: string, change: (options: Options, content: Case) => boolean): Mistake {
  return {
    title,
    change(content) {
      const options: Options = { ...content.options };
      return change(options, content) ? { ...content, options } : null;
    },
  };
}

function without(title: string, name: keyof AttentionOptions): Mistake {
  return inOptions(title, (options) => {
    const had = options[name] !== undefined && options[name] !== null && options[name] !== false &&
      options[name] !== 0;
    delete options[name];
    return had;
  });
}

function semantics(options: Options, change: Partial<Semantics>): boolean {
  const current = { ...defaults, ...(options.semantics as Partial<Semantics>) };
  options.semantics = { ...current, ...change };
  return Object.entries(change).some(([key, value]) => current[key as keyof Semantics] !== value);
}

function shifted(by: number): (options: Options, content: Case) => boolean {
  return (options, { q, k, v, options: given }) => {
    const { offset, causal, left, right, M } = createProblem(q, k, v, given);
    if (!causal && left.every((n) => n > M) && right.every((n) => n > M)) return false;
    options.align = { offset: offset.map((p) => p + by) };
    return true;
  };
}

function windowed(left: number, right: number): (options: Options) => boolean {
  return (options) => {
    if (!options.window) return false;
    const move = ([l, r]: Window): Window => [side(l, left), side(r, right)];
    const windows = options.window as Window | readonly Window[];
    options.window = Array.isArray(windows[0])
      ? (windows as readonly Window[]).map(move)
      : move(windows as Window);
    return JSON.stringify(options.window) !== JSON.stringify(windows);
  };
}

function side(value: number | null, by: number): number | null {
  return value === null || value < 0 ? value : Math.max(0, value + by);
}

export const MISTAKES: readonly Mistake[] = [
  without("the causal mask is missing", "causal"),
  inOptions("a causal mask that isn't asked for", (options) => !options.causal && (options.causal = true)),
  inOptions("the diagonal starts at the top left", (options) => aligned(options, "top-left")),
  inOptions("the diagonal ends at the bottom right", (options) => aligned(options, "bottom-right")),
  inOptions("one key too many in each row (j ≤ p + 1)", shifted(1)),
  inOptions("one key too few in each row (j < p)", shifted(-1)),
  without("the window is missing", "window"),
  inOptions("the window reaches one key further left", windowed(1, 0)),
  inOptions("the window is one key short at the left", windowed(-1, 0)),
  inOptions("the window reaches one key further right", windowed(0, 1)),
  without("the boolean mask is missing", "mask"),
  inOptions("the boolean mask is upside down", inverted),
  without("the bias is missing", "bias"),
  without("ALiBi is missing", "alibiSlopes"),
  without("the sink is missing", "sink"),
  without("the softcap is missing", "softcap"),
  without("chunks are missing", "chunk"),
  without("sink tokens are missing", "sinkTokens"),
  without("key lengths are missing", "keyLengths"),
  without("dropout is missing", "dropout"),
  inOptions("scale 1", (options) => scaled(options, () => 1)),
  inOptions(
    "the default scale 1/√D",
    (options, { q }) => scaled(options, () => 1 / Math.sqrt(q.shape.at(-1)!)),
  ),
  inOptions("scale applied twice", (options) => scaled(options, (scale) => scale * scale)),
  inOptions("√scale once", (options) => scaled(options, (scale) => Math.sqrt(Math.abs(scale)))),
  inOptions(
    "scale times log2 e (a base-2 softmax)",
    (options) => scaled(options, (x) => x * 1.4426950408889634),
  ),
  inOptions("softcap after ALiBi", (options) => semantics(options, { softcap: "after-alibi" })),
  inOptions("ALiBi from j − i", (options) => semantics(options, { alibi: "relative" })),
  inOptions("lse in base 2", (options) => semantics(options, { lseBase: "2" })),
  inOptions("lse counts the sink", (options) => semantics(options, { lseIncludesSink: true })),
  inOptions("lse leaves the sink out", (options) => semantics(options, { lseIncludesSink: false })),
  inOptions("lse of an empty row is +∞", (options) => semantics(options, { emptyLse: "+inf" })),
  inOptions("O of an empty row is NaN", (options) => semantics(options, { emptyRow: "nan" })),
  inOptions("O of an empty row is mean(V)", (options) => semantics(options, { emptyRow: "mean" })),
  { title: "query head h reads key head h mod G", change: interleaved },
  {
    title: "K is V",
    change: (content) => sameShape(content.k, content.v) ? { ...content, k: content.v } : null,
  },
];

function aligned(options: Options, align: "top-left" | "bottom-right"): boolean {
  options.align = align;
  return true;
}

function scaled(options: Options, change: (scale: number) => number): boolean {
  if (options.scale === undefined) return false;
  const before = options.scale;
  options.scale = change(before);
  return options.scale !== before;
}

/** Masks of case files are dense tensors of bytes. */
function inverted(options: Options): boolean {
  if (!options.mask || !("data" in options.mask)) return false;
  const { data, ...mask } = options.mask;
  options.mask = { ...mask, data: (data as Uint8Array).map((seen) => 1 - seen) };
  return true;
}

function sameShape(a: FileTensor, b: FileTensor): boolean {
  return a.shape.length === b.shape.length && a.shape.every((n, axis) => n === b.shape[axis]);
}

/** K and V with their heads in the order in which h mod G would meet them: only where G heads serve H > G. */
function interleaved(content: Case): Case | null {
  const { q, k, v, options } = content;
  const axis = options.layout === "bnhd" ? 2 : 1;
  const [H, G] = [q.shape[axis], k.shape[axis]];
  if (G === 1 || H === G) return null;
  return { ...content, k: repeated(k, axis, H), v: repeated(v, axis, H) };
}

/** Head h of the result is head h mod G of the tensor. */
function repeated({ data, dtype, shape }: FileTensor, axis: number, H: number): FileTensor {
  const G = shape[axis];
  const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const Elements = data.constructor as new (length: number) => FileTensor["data"];
  const copy = new Elements(outer * H * inner);
  for (let o = 0; o < outer; o++) {
    for (let h = 0; h < H; h++) {
      const from = (o * G + h % G) * inner;
      (copy as Uint8Array).set(data.subarray(from, from + inner) as Uint8Array, (o * H + h) * inner);
    }
  }
  if (copy.BYTES_PER_ELEMENT !== BYTES[dtype]) throw new TypeError(`${dtype}: unexpected elements`);
  return { data: copy, dtype, shape: shape.with(axis, H) };
}

/** Arithmetics that would explain a result that is merely not accurate. */
const ROUGHER: readonly (readonly [string, number])[] = [
  ["no more accurate than float32", 2 ** -24],
  ["no more accurate than tf32 or float16", 2 ** -11],
  ["no more accurate than bfloat16", 2 ** -8],
];

/** The titles of the mistakes that reproduce `results`, within what the bounds allow. */
export function explanations(
  content: Case,
  results: ReadonlyMap<OutputName, FileTensor>,
  arithmetic: Arithmetic,
  wanted: ReadonlySet<OutputName>,
): string[] {
  const found: string[] = [];
  for (const { title, change } of MISTAKES) {
    const changed = change(content);
    if (changed && reproduces(changed, results, arithmetic, wanted)) found.push(title);
  }
  if (found.length > 0) return found;
  for (const [title, u] of ROUGHER) {
    if (u > arithmetic.u && reproduces(content, results, { ...FLOAT32, u }, wanted)) return [title];
  }
  return [];
}

function reproduces(
  content: Case,
  results: ReadonlyMap<OutputName, FileTensor>,
  arithmetic: Arithmetic,
  wanted: ReadonlySet<OutputName>,
): boolean {
  try {
    const { tensors } = computeCase(content, oracle, wanted);
    const bounds = boundsOf(content, arithmetic, wanted);
    return [...wanted].every((name) => {
      const exact = tensors.get(name);
      if (!exact) return false;
      return compare(name, { ...exact, shape: [...exact.shape] }, results.get(name)!, bounds.get(name)!).ok;
    });
  } catch {
    // The changed case may make no sense: then it explains nothing.
    return false;
  }
}
