/**
 * Attention of a validated Problem on the kernels: what the fused forward computes, dressed as `Semantics` asks
 * (rows without a key, base and shift of lse) and in the dtype that was asked for. Same result as
 * src/reference/attention.ts within the bound of docs/error-bounds.md.
 */
import { isCausalKernel, type Problem } from "../problem.ts";
import { type AttentionResult, placeLse, placeOut } from "../result.ts";
import { elementReader, fromFloat64 } from "../tensor.ts";
import type { Engine } from "../wasm/load.ts";
import { type ForwardOptions, forwardSteps } from "./forward.ts";
import { LOG2E } from "./halvings.ts";
import { unsupportedRecipe } from "./quantised.ts";
import { elementAt } from "./stage.ts";
import { finish } from "./steps.ts";

/** Why this problem is not for the float32 kernels, or null if it is. */
export function unsupported(problem: Problem): string | null {
  if (problem.precision !== null) {
    if (problem.dropout !== null) return "dropout with precision";
    if (problem.want.probabilities) return "probabilities with precision";
    const missing = unsupportedRecipe(problem.precision);
    if (missing) return missing;
  }
  if ([problem.q, problem.k, problem.v].some(({ dtype }) => dtype === "float64")) return "float64 inputs";
  return null;
}

/**
 * @param problem From createProblem; what `unsupported` names is not looked at here.
 * @throws FlashtileError NO_MEMORY if the panels do not fit the engine's memory.
 */
export function attention(engine: Engine, problem: Problem, options: ForwardOptions = {}): AttentionResult {
  return finish(attentionSteps(engine, problem, options));
}

/** The same in steps of about 10 ms that yield the share done; the engine belongs to it until it has ended. */
export function* attentionSteps(
  engine: Engine,
  problem: Problem,
  options: ForwardOptions = {},
): Generator<number, AttentionResult> {
  const { want, semantics } = problem;
  // An empty row is known by its lse.
  const needLse = want.lse || semantics.emptyRow !== "zero";
  const { out, lse, written } = yield* forwardSteps(
    engine,
    needLse && !want.lse ? { ...problem, want: { ...want, lse: true } } : problem,
    options,
  );
  if (semantics.emptyRow !== "zero") fillEmptyRows(problem, out, lse as Float32Array, written);
  if (want.lse) reportLse(problem, lse as Float32Array);
  const dtype = want.out ?? "float32";
  return {
    out: {
      data: dtype === "float32" ? out : fromFloat64(Float64Array.from(out), dtype),
      shape: placeOut(problem).shape,
      dtype,
    },
    ...(want.lse && { lse: { data: lse as Float32Array, shape: placeLse(problem).shape, dtype: "float32" } }),
    ...(written && {
      probabilities: { data: written, shape: [problem.B, problem.H, problem.N, problem.M], dtype: "float32" },
    }),
  };
}

/** O, and P, of rows that see no key and have no sink: NaN, or the mean of all values, hidden ones included. */
function fillEmptyRows(problem: Problem, out: Float32Array, lse: Float32Array, P: Float32Array | null): void {
  const { semantics, sink, H, N, M, E } = problem;
  const po = placeOut(problem);
  let mean: { b: number; g: number; row: Float64Array } | null = null;
  eachRow(problem, (b, h, i, at) => {
    if (lse[at] !== -Infinity || (sink !== null && sink[h] !== -Infinity)) return;
    const first = po.base[b] + h * po.head + i * po.row;
    const weights = P?.subarray(((b * H + h) * N + i) * M, ((b * H + h) * N + i + 1) * M);
    if (semantics.emptyRow === "nan") {
      weights?.fill(NaN);
      out.fill(NaN, first, first + E);
      return;
    }
    const stored = storedKeys(problem, b);
    weights?.fill(1 / stored, 0, stored);
    const g = Math.floor(h / problem.group);
    if (mean === null || mean.b !== b || mean.g !== g) mean = { b, g, row: meanOfValues(problem, b, g) };
    out.set(mean.row, first);
  });
}

function storedKeys({ layout, keyLength, M }: Problem, b: number): number {
  return layout === "thd" ? keyLength[b] : M;
}

function meanOfValues(problem: Problem, b: number, g: number): Float64Array {
  const { v, E, keyStart } = problem;
  const stored = storedKeys(problem, b);
  const read = elementReader(v);
  const row = new Float64Array(E);
  for (let j = 0; j < stored; j++) {
    const at = elementAt(v, b, g, keyStart[b] + j);
    for (let e = 0; e < E; e++) row[e] += read(at + e * v.strides[3]);
  }
  return row.map((sum) => stored === 0 ? 0 : sum / stored);
}

/** Natural lse → the base, the empty value and the ALiBi shift of the semantics, in place. */
function reportLse(problem: Problem, lse: Float32Array): void {
  const { semantics, alibiSlopes, H, offset } = problem;
  if (semantics.emptyLse === "+inf") lse.forEach((x, at) => x === -Infinity && (lse[at] = Infinity));
  const raw = alibiSlopes !== null && semantics.alibi === "distance-raw";
  if (!raw && semantics.lseBase === "e") return;
  const base = semantics.lseBase === "2" ? LOG2E : 1;
  eachRow(problem, (b, h, i, at) => {
    // A causal kernel that adds slope·j in place of −slope·(p − j) reports an lse larger by slope·p.
    const shift = raw && isCausalKernel(problem, h) ? alibiSlopes[b * H + h] * (i + offset[b]) : 0;
    lse[at] = (lse[at] + shift) * base;
  });
}

function eachRow(problem: Problem, f: (b: number, h: number, i: number, at: number) => void): void {
  const { base, head, row } = placeLse(problem);
  for (let b = 0; b < problem.B; b++) {
    for (let h = 0; h < problem.H; h++) {
      for (let i = 0; i < problem.queryLength[b]; i++) f(b, h, i, base[b] + h * head + i * row);
    }
  }
}
