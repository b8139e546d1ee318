/**
 * The door of rotary embedding: (x, tables) → what the oracle and the kernels alike compute from.
 *
 * x [B,H,N,D], or [B,N,H,D] with layout "bnhd"; cos and sin [positions, R/2], R ≤ D.
 */
import { flag, integer, oneOf } from "./check.ts";
import type { TensorInput, View } from "./tensor.ts";
import { vector } from "./vector.ts";
import { type Axes, withAxes } from "./geometry.ts";
import type { Vector } from "./options.ts";

/** Angles of rotary embedding, as cosines and sines. */
export interface RotaryTables {
  /** [positions, R/2] each; R ≤ D, the dims that turn. */
  readonly cos: TensorInput;
  readonly sin: TensorInput;
  /** Row of the tables for each token: [N], or [B,N], or the first position for consecutive ones. 0 unless given. */
  readonly positions?: Vector | number;
  /** Pairs (2d, 2d + 1) in place of (d, d + R/2). */
  readonly interleaved?: boolean;
  /** Of x: "bhnd" unless told. */
  readonly layout?: "bhnd" | "bnhd";
}

/** A validated rotary embedding. */
export interface Rotary {
  readonly x: View;
  readonly B: number;
  readonly H: number;
  readonly N: number;
  readonly D: number;
  readonly layout: "bhnd" | "bnhd";
  readonly cos: View;
  readonly sin: View;
  /** Width of a table's row. */
  readonly half: number;
  /** [B·N], rows of the tables. */
  readonly positions: Int32Array;
  readonly interleaved: boolean;
}

/** @throws TypeError for a wrong kind, RangeError for a wrong value or shape; the message starts with the name. */
export function createRotary(x: TensorInput, tables: RotaryTables): Rotary {
  const layout = oneOf("layout", tables.layout === undefined ? "bhnd" : tables.layout, ["bhnd", "bnhd"]);
  const axes: Axes = {};
  const source = withAxes("x", x, layout === "bhnd" ? "BHND" : "BNHD", axes);
  const { B, H, N, D } = axes as Record<string, number>;
  const cos = withAxes("cos", tables.cos, ["positions", "R/2"], axes);
  const sin = withAxes("sin", tables.sin, ["positions", "R/2"], axes);
  const [rows, half] = cos.shape;
  if (2 * half > D) {
    throw new RangeError(`cos: expected [positions,R/2] with R ≤ ${D}, got [${cos.shape}]`);
  }
  const positions = tokenPositions(tables.positions === undefined ? 0 : tables.positions, B, N, rows);
  const interleaved = flag("interleaved", tables.interleaved);
  return { x: source, B, H, N, D, layout, cos, sin, half, positions, interleaved };
}

function tokenPositions(input: Vector | number, B: number, N: number, rows: number): Int32Array {
  const given = typeof input === "number"
    ? Float64Array.from({ length: N }, (_, i) => input + i)
    : vector("positions", input, [[N], [B, N]], "[N] or [B,N]");
  given.forEach((p, at) => integer("positions", p, 0, rows - 1, at));
  return Int32Array.from({ length: B * N }, (_, x) => given[x % given.length]);
}
