/**
 * `sage`: a version of SageAttention and what differs from it → the complete recipe, checked.
 */
import { expectFields, expectRecord, type Fields, finite, FLAG, oneOf, refuse } from "./check.ts";
import type { Accumulator, Granularity, Recipe, Rounding, ScoreType, ValueType } from "./precision.ts";

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

const GRANULARITIES: readonly Granularity[] = ["tensor", "block", "warp", "thread", "token"];
/** Which accumulators a type of P·V has where it has others than "float32". */
const ACCUMULATORS: Partial<Record<ValueType, readonly Accumulator[]>> = {
  fp16: ["float32", "fp16", "fp32+fp16"],
  fp8: ["float32", "fp22", "fp32+fp32", "fp32+fp16"],
  fp8e5m2: ["float32", "fp22", "fp32+fp32"],
};
/** Accumulators that carry O from tile to tile in units of V's codes. */
const ONE_LEVEL: readonly Accumulator[] = ["fp22", "fp16"];

/** As released: 8 bits, scales per thread. With `qk: "int4"` the paper's SageAttn2-4b, with smoothed Q. */
const SECOND = { qk: "int8", granularity: "thread", pv: "fp8", accumulator: "fp32+fp32" } as const;

const VERSIONS = {
  /** SageAttn-B as released (Triton): scales per block, P and V in float16. */
  "1": { qk: "int8", granularity: "block", pv: "fp16", accumulator: "fp32+fp16" },
  "2": SECOND,
  "2++": { ...SECOND, accumulator: "fp32+fp16" },
  /** Everything in NVFP4. */
  "3": { qk: "fp4", granularity: "token", pv: "fp4", accumulator: "float32" },
} as const;

/** Every field of {@link SageOptions}, with the values of those that have a few. */
const FIELDS: Fields & Record<keyof SageOptions, unknown> = {
  version: ["2", "1", "2++", "3"],
  qk: ["float32", "int16", "int12", "int8", "int7", "int4", "fp4"] satisfies ScoreType[],
  granularity: null,
  rounding: ["half-away", "half-even"],
  smoothK: [true, false],
  smoothQ: [false, true, "block", "head"],
  smoothV: FLAG,
  pv: [
    "float32",
    "float32/fp8",
    "fp16",
    "fp8",
    "fp8e5m2",
    "int16",
    "int12",
    "int8",
    "int7",
    "fp4",
  ] satisfies ValueType[],
  pScale: ["row", "tile"],
  vScale: ["head", "tile"],
  accumulator: null,
  blockQ: null,
  blockK: null,
  warpQ: null,
};

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
  expectRecord("precision", options, "a record");
  expectFields("precision.", options, FIELDS);
  const own = VERSIONS[options.version ?? "2"];
  const {
    qk = own.qk,
    rounding = "half-away",
    smoothK = true,
    smoothQ = qk === "int4" || qk === "fp4",
    smoothV = false,
    pv = own.pv,
    pScale = "row",
    vScale = "head",
    blockQ = 128,
    blockK = 64,
    warpQ = 32,
  } = options;
  const allowed = ACCUMULATORS[pv] ?? ["float32"];
  const accumulator = oneOf(
    "precision.accumulator",
    options.accumulator ?? (allowed.includes(own.accumulator) ? own.accumulator : "float32"),
    allowed,
  );
  if (ONE_LEVEL.includes(accumulator) && (pScale === "tile" || vScale === "tile")) {
    const [name, whole] = pScale === "tile" ? ["pScale", "row"] : ["vScale", "head"];
    throw new RangeError(
      `precision.${name}: expected "${whole}" with accumulator "${accumulator}", which runs on from tile to tile, got "tile"`,
    );
  }
  return {
    qk,
    granularity: granularity(options.granularity ?? own.granularity),
    rounding,
    smoothK,
    smoothQ: smoothQ === true ? "block" : smoothQ,
    smoothV,
    pv,
    pScale,
    vScale,
    accumulator,
    blockQ: rows("precision.blockQ", blockQ),
    blockK: rows("precision.blockK", blockK),
    warpQ: rows("precision.warpQ", warpQ),
  };
}

const SIDES: Fields = { q: GRANULARITIES, k: GRANULARITIES };

function granularity(input: Granularity | Recipe["granularity"]): Recipe["granularity"] {
  if (typeof input === "string") input = { q: input, k: input };
  const name = "precision.granularity";
  expectRecord(name, input, "a name or {q, k}");
  expectFields("precision.granularity.", input, SIDES);
  return { q: oneOf(`${name}.q`, input.q, GRANULARITIES), k: oneOf(`${name}.k`, input.k, GRANULARITIES) };
}

function rows(name: string, value: unknown): number {
  const n = finite(name, value);
  // Eight rows are what the threads of a warp interleave.
  if (n < 8 || n > 65536 || n % 8 !== 0) refuse(name, "a multiple of 8 up to 65536", n);
  return n;
}
