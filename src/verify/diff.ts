/**
 * Two results of one case: where they part, and why.
 *
 * Both are held against the oracle with the bounds of the case, so that it shows which of the two is off. The reason
 * is looked for among the mistakes that implementations make (mistakes.ts): the case is computed with each of them,
 * and one that reproduces the result within the bounds explains it.
 */
import type { FileTensor } from "../io/tensor.ts";
import type { Layout } from "../options.ts";
import { toFloat64, view } from "../tensor.ts";
import { type Arithmetic, FLOAT32, FLOAT64, STORED } from "./arithmetic.ts";
import type { Case, OutputName } from "./case.ts";
import { boundsOf, computeCase } from "./check.ts";
import { compare, type Comparison, indexOf } from "./compare.ts";
import { explanations } from "./mistakes.ts";
import { oracle } from "./oracle.ts";

/** Results by the names of case files. */
export type ResultTensors = ReadonlyMap<OutputName, FileTensor>;

export interface OutputDiff {
  readonly output: OutputName;
  /** B against A, and each of them against the oracle. */
  readonly between: Comparison;
  readonly a: Comparison;
  readonly b: Comparison;
  /** For each (batch, head), or whatever the leading axes are: the largest |B − A|/bound, and how many exceed it. */
  readonly heads: readonly HeadDiff[];
  /** Elements by |B − A|/bound: 0, up to 0.001, 0.01, 0.1, 1, 10, more. */
  readonly histogram: readonly number[];
}

export interface HeadDiff {
  readonly at: readonly number[];
  readonly ratio: number;
  readonly beyond: number;
  readonly elements: number;
  /** Rows (queries, or keys of dk and dv) with an element beyond the bound. */
  readonly rows: readonly number[];
}

export interface CaseDiff {
  readonly outputs: readonly OutputDiff[];
  /** Mistakes that would explain A, or B: their descriptions. */
  readonly reasons: { readonly a: readonly string[]; readonly b: readonly string[] };
  readonly ok: boolean;
}

/** Upper ends of the classes of the histogram, the last being open. */
export const CLASSES = [0, 0.001, 0.01, 0.1, 1, 10] as const;

/**
 * @param a Results by output, as `flashtile run` writes them; float64 counts as computed in float64.
 * @throws {RangeError} A result has another shape than the case gives.
 */
export function diffResults(content: Case, a: ResultTensors, b: ResultTensors): CaseDiff {
  const names = [...a.keys()].filter((name) => b.has(name));
  if (names.length === 0) throw new RangeError("o: expected an output that both results have, got none");
  const wanted = new Set(names);
  const { tensors } = computeCase(content, oracle, wanted);
  const outputs: OutputDiff[] = [];
  for (const output of names) {
    const exact = tensors.get(output);
    if (!exact) throw new RangeError(`${output}: expected an output of this case, but it has none`);
    const [one, two] = [a.get(output)!, b.get(output)!];
    const ofA = boundsOf(content, arithmeticOf(one), wanted).get(output)!;
    const ofB = boundsOf(content, arithmeticOf(two), wanted).get(output)!;
    const both = ofA.map((bound, x) => bound + ofB[x]);
    const truth: FileTensor = { ...exact, shape: [...exact.shape] };
    outputs.push({
      output,
      between: compare(output, one, two, both),
      a: compare(output, truth, one, ofA),
      b: compare(output, truth, two, ofB),
      ...spread(one, two, both, output, content.options.layout ?? "bhnd"),
    });
  }
  const ok = outputs.every(({ between }) => between.ok);
  const reasons = {
    a: reasonsFor(content, a, outputs.some(({ a: { ok } }) => !ok), wanted),
    b: reasonsFor(content, b, outputs.some(({ b: { ok } }) => !ok), wanted),
  };
  return { outputs, reasons, ok };
}

function reasonsFor(content: Case, results: ResultTensors, wrong: boolean, wanted: ReadonlySet<OutputName>) {
  if (!wrong) return [];
  const [first] = [...results.values()];
  return explanations(content, results, arithmeticOf(first), wanted);
}

function arithmeticOf({ dtype }: FileTensor): Arithmetic {
  return dtype === "float64" ? FLOAT64 : FLOAT32;
}

/** Per head and over all: how the differences are spread. */
function spread(a: FileTensor, b: FileTensor, bounds: Float64Array, output: OutputName, layout: Layout) {
  const one = toFloat64(view(output, a));
  const two = toFloat64(view(output, b));
  const stored = STORED[a.dtype]!.u + STORED[b.dtype]!.u;
  const rowAxis = rowAxisOf(output, a.shape.length, layout);
  const vectors = output === "lse" || output === "dsink";
  const isHead = a.shape.map((_, axis) => axis !== rowAxis && (vectors || axis < a.shape.length - 1));
  const histogram = new Array<number>(CLASSES.length + 1).fill(0);
  const heads = new Map<
    string,
    { at: number[]; ratio: number; beyond: number; elements: number; rows: Set<number> }
  >();
  for (let x = 0; x < one.length; x++) {
    const ratio = ratioOf(one[x], two[x], bounds[x], stored);
    const at = indexOf(x, a.shape);
    const headAt = at.filter((_, axis) => isHead[axis]);
    const key = headAt.join();
    let head = heads.get(key);
    if (!head) heads.set(key, head = { at: headAt, ratio: 0, beyond: 0, elements: 0, rows: new Set() });
    head.elements++;
    head.ratio = Math.max(head.ratio, ratio);
    if (ratio > 1) {
      head.beyond++;
      if (rowAxis >= 0) head.rows.add(at[rowAxis]);
    }
    const level = CLASSES.findIndex((end) => ratio <= end);
    histogram[level < 0 ? CLASSES.length : level]++;
  }
  const report = [...heads.values()].map((head): HeadDiff => ({ ...head, rows: [...head.rows] }));
  return { heads: report, histogram };
}

/** Which axis counts queries (of o, dq, lse, dbias) or keys (of dk, dv); −1 if none does. */
function rowAxisOf(output: OutputName, rank: number, layout: Layout): number {
  if (output === "dsink") return -1;
  if (output === "lse") return rank - 1;
  if (output === "dbias" || layout === "bhnd") return rank - 2;
  return layout === "bnhd" ? 1 : 0;
}

function ratioOf(a: number, b: number, bound: number, stored: number): number {
  if (a === b || (a !== a && b !== b)) return 0;
  const error = Math.abs(a - b);
  const limit = bound + stored * Math.abs(a);
  return error < Infinity && limit < Infinity ? error / limit : Infinity;
}
