/** Precisions by name, as the command line and calibration know them, and from and to text. */
import { oneOf } from "./check.ts";
import { type Precision, type Recipe, resolvePrecision, sage } from "./precision.ts";

/** The values of `precision`, and SageAttention's published pipelines. */
export const recipes = {
  float32: null,
  int12: resolvePrecision("int12") as Recipe,
  int8: resolvePrecision("int8") as Recipe,
  sage1: sage({ version: "1" }),
  sage2: sage({ version: "2" }),
  "sage2-4b": sage({ version: "2", qk: "int4" }),
  "sage2++": sage({ version: "2++" }),
  sage3: sage({ version: "3" }),
} as const satisfies Readonly<Record<string, Recipe | null>>;

export type PrecisionName = keyof typeof recipes;

/**
 * Text → precision, for the command line: a name of {@link recipes}, or a record in JSON.
 *
 * @throws {RangeError} No such name. @throws {SyntaxError} Not JSON. @throws As {@link sage}.
 */
export function parsePrecision(text: string): Precision {
  if (text.trimStart().startsWith("{")) return sage(JSON.parse(text));
  const name = oneOf("precision", text, Object.keys(recipes) as PrecisionName[]);
  return name === "float32" || name === "int12" || name === "int8" ? name : recipes[name];
}

/** The name of a precision, or its JSON if it has none. */
export function precisionName(precision: Precision): string {
  if (typeof precision === "string") return precision;
  const json = JSON.stringify(sage(precision));
  const known = Object.entries(recipes).find(([, recipe]) => JSON.stringify(recipe) === json);
  return known ? known[0] : json;
}
