/** What the helpers with other people's signatures share. */
import type { AttentionOptions } from "../options.ts";
import type { AttentionResult } from "../result.ts";
import { describe } from "../check.ts";
import type { TensorInput } from "../tensor.ts";

/** The function that does the work: the reference's or the runtime's. */
export type Attention = (
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  options?: AttentionOptions,
) => AttentionResult;

/** @throws TypeError unless options is an object with these names only. */
export function expectNames(options: object, names: readonly string[]): void {
  if (options === null || typeof options !== "object") {
    throw new TypeError(`options: expected an object, got ${describe(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) {
      throw new TypeError(`${name}: no such option; there are ${names.join(", ")}`);
    }
  }
}

/** Only what is given: a field that is undefined or null is left out. */
export function given<T extends object>(fields: T): { [Key in keyof T]?: NonNullable<T[Key]> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(entries) as { [Key in keyof T]?: NonNullable<T[Key]> };
}
