/** What a command may touch of the process: tests hand in their own, so that commands run in-process. */

/** The part of a stream that commands use. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export interface Io {
  readonly stdout: Output;
  readonly stderr: Output;
  /** Bytes, for commands that read them. */
  readonly stdin?: AsyncIterable<Uint8Array>;
}

/**
 * What went wrong with the input, not with flashtile: exit code 2. The message is one line that names the file (or
 * option) and the field.
 */
export class InputError extends Error {
  override readonly name = "InputError";
}

/** The message of anything thrown, on one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replaceAll(/\s*\n\s*/g, "; ");
}
