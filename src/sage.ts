/**
 * `sage`: a version of SageAttention and what differs from it → the complete recipe, checked.
 */
import { finite, flag, oneOf } from "./check.ts";
import type { Accumulator, Granularity, Recipe, Rounding, ScoreType, ValueType } from "./precision.ts";
import { describe } from "./tensor.ts";

/** What {@link sage} takes: a version to start from, and what differs. */
export interface SageOptions {
  /** "1", "2" (default), "2++" or "3". */
  readonly version?: "1" | "2" | "2++" | "3";
  readonly qk?: ScoreType;
  readonly granularity?: Granularity | Recipe["granularity"];
  readonly rounding?: Rounding;
  readonly smoothK?: boolean;
  /** true is "block". */
  readonly smoothQ?: boolean | "block" | "head";
  readonly smoothV?: boolean;
  readonly pv?: ValueType;
  readonly pScale?: "row" | "tile";
  readonly vScale?: "head" | "tile";
  readonly accumulator?: Accumulator;
  readonly blockQ?: number;
  readonly blockK?: number;
  readonly warpQ?: number;
}

const SCORE_TYPES: readonly ScoreType[] = ["float32", "int16", "int12", "int8", "int7", "int4", "fp4"];
const GRANULARITIES: readonly Granularity[] = ["tensor", "block", "warp", "thread", "token"];
/** Which accumulators a type of P·V has; the first where the version's own isn't among them. */
const ACCUMULATORS: Readonly<Record<ValueType, readonly Accumulator[]>> = {
  float32: ["float32"],
  "float32/fp8": ["float32"],
  fp16: ["float32", "fp16", "fp32+fp16"],
  fp8: ["float32", "fp22", "fp32+fp32", "fp32+fp16"],
  fp8e5m2: ["float32", "fp22", "fp32+fp32"],
  int16: ["float32"],
  int12: ["float32"],
  int8: ["float32"],
  int7: ["float32"],
  fp4: ["float32"],
};
/** Accumulators that carry O from tile to tile in units of V's codes. */
const ONE_LEVEL: readonly Accumulator[] = ["fp22", "fp16"];

const VERSIONS = {
  /** SageAttn-B as released (Triton): scales per block, P and V in float16. */
  "1": { qk: "int8", granularity: "block", pv: "fp16", accumulator: "fp32+fp16" },
  /** As released: 8 bits, scales per thread. With `qk: "int4"` the paper's SageAttn2-4b, with smoothed Q. */
  "2": { qk: "int8", granularity: "thread", pv: "fp8", accumulator: "fp32+fp32" },
  "2++": { qk: "int8", granularity: "thread", pv: "fp8", accumulator: "fp32+fp16" },
  /** Everything in NVFP4. */
  "3": { qk: "fp4", granularity: "token", pv: "fp4", accumulator: "float32" },
} as const;

/**
 * A SageAttention pipeline for the option `precision`.
 *
 * @param options A version, and what differs from it. `smoothK` is on, `smoothV` off, `smoothQ` on for 4-bit scores.
 * @returns Plain data, every field there: JSON keeps it.
 * @throws {TypeError} An unknown field or a wrong kind.
 * @throws {RangeError} A wrong value, or parts that don't go together.
 *
 * @example
 * ```ts
 * import { sage } from "flashtile";
 * const paper = sage({ version: "2", qk: "int4" }); // SageAttn2-4b
 * console.log(paper.smoothQ, paper.pv, paper.accumulator); // block fp8 fp32+fp32
 *
 * // What the kernels compute of it, on a quarter of V's bytes and an eighth of K's: P is not rounded.
 * const small = sage({ qk: "int4", granularity: "token", rounding: "half-even", smoothQ: false, pv: "float32/fp8" });
 * console.log(small.pv, small.vScale); // float32/fp8 head
 * ```
 */
export function sage(options: SageOptions = {}): Recipe {
  if (options === null || typeof options !== "object" || Array.isArray(options)) {
    throw new TypeError(`precision: expected a record, got ${describe(options)}`);
  }
  const version = VERSIONS[
    oneOf("precision.version", options.version ?? "2", ["1", "2", "2++", "3"] as const)
  ];
  const qk = oneOf("precision.qk", options.qk ?? version.qk, SCORE_TYPES);
  const pv = oneOf("precision.pv", options.pv ?? version.pv, Object.keys(ACCUMULATORS) as ValueType[]);
  const allowed = ACCUMULATORS[pv];
  const own = allowed.includes(version.accumulator) ? version.accumulator : "float32";
  const accumulator = oneOf("precision.accumulator", options.accumulator ?? own, allowed);
  const pScale = oneOf("precision.pScale", options.pScale ?? "row", ["row", "tile"]);
  const vScale = oneOf("precision.vScale", options.vScale ?? "head", ["head", "tile"]);
  if (ONE_LEVEL.includes(accumulator) && (pScale === "tile" || vScale === "tile")) {
    const [name, whole] = pScale === "tile" ? ["pScale", "row"] : ["vScale", "head"];
    throw new RangeError(
      `precision.${name}: expected "${whole}" with accumulator "${accumulator}", which runs on from tile to tile, got "tile"`,
    );
  }
  const recipe: Recipe = {
    qk,
    granularity: granularity(options.granularity ?? version.granularity),
    rounding: oneOf("precision.rounding", options.rounding ?? "half-away", ["half-away", "half-even"]),
    smoothK: flag("precision.smoothK", options.smoothK ?? true),
    smoothQ: smoothQ(options.smoothQ ?? (qk === "int4" || qk === "fp4")),
    smoothV: flag("precision.smoothV", options.smoothV),
    pv,
    pScale,
    vScale,
    accumulator,
    blockQ: rows("precision.blockQ", options.blockQ ?? 128),
    blockK: rows("precision.blockK", options.blockK ?? 64),
    warpQ: rows("precision.warpQ", options.warpQ ?? 32),
  };
  for (const name of Object.keys(options)) {
    if (name !== "version" && !Object.hasOwn(recipe, name)) {
      throw new TypeError(
        `precision.${name}: no such field; there are version, ${Object.keys(recipe).join(", ")}`,
      );
    }
  }
  return recipe;
}

function granularity(input: unknown): Recipe["granularity"] {
  const name = "precision.granularity";
  if (typeof input === "string") {
    const both = oneOf(name, input, GRANULARITIES);
    return { q: both, k: both };
  }
  if (input === null || typeof input !== "object") {
    throw new TypeError(`${name}: expected a name or {q, k}, got ${describe(input)}`);
  }
  for (const key of Object.keys(input)) {
    if (key !== "q" && key !== "k") throw new TypeError(`${name}.${key}: no such field; there are q, k`);
  }
  const { q, k } = input as { q?: unknown; k?: unknown };
  return { q: oneOf(`${name}.q`, q, GRANULARITIES), k: oneOf(`${name}.k`, k, GRANULARITIES) };
}

function smoothQ(input: unknown): Recipe["smoothQ"] {
  if (typeof input === "boolean") return input ? "block" : false;
  return oneOf("precision.smoothQ", input, ["block", "head"] as const);
}

function rows(name: string, value: unknown): number {
  const n = finite(name, value);
  // Eight rows are what the threads of a warp interleave.
  if (n < 8 || n > 65536 || n % 8 !== 0) {
    throw new RangeError(`${name}: expected a multiple of 8 up to 65536, got ${n}`);
  }
  return n;
}
