/**
 * Errors. A wrong kind is a TypeError, a wrong value or shape a RangeError, a broken file a SyntaxError;
 * what a caller may want to catch and handle carries a code.
 */

/** Why flashtile could not go on, for callers that can do something about it. */
export type FlashtileErrorCode = "NO_SIMD" | "NO_MEMORY" | "WORKER_DIED" | "ABORTED";

/**
 * An error with a machine-readable reason.
 *
 * @example
 * ```ts
 * import { FlashtileError } from "flashtile";
 * const error = new FlashtileError("NO_MEMORY", "needed 8 GiB");
 * console.log(error.code); // NO_MEMORY
 * ```
 */
export class FlashtileError extends Error {
  override readonly name = "FlashtileError";
  readonly code: FlashtileErrorCode;
  constructor(code: FlashtileErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
