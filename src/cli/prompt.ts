/** Where the text to continue comes from: the command line, standard input, or the model's held-out text. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { cut, encode } from "../model/text.ts";
import { readBytes, reason } from "./files.ts";
import { InputError } from "./io.ts";

/** From the held-out end of Moby-Dick: the shipped model has never seen it. */
export const DEFAULT_PROMPT =
  "A gentle joyousness—a mighty mildness of repose in swiftness, invested\nthe gliding whale. ";

/** Longer standard input is no prompt: no context here is as long. */
const MAX_INPUT = 1 << 24;

/** Standard input as a stream of bytes. */
export type Input = AsyncIterable<Uint8Array>;

export async function readPrompt(
  { prompt, heldOut, folder }: { prompt: string | undefined; heldOut: number | undefined; folder: string },
  stdin: Input | undefined,
): Promise<Uint8Array> {
  if (heldOut !== undefined) return cut(readBytes(heldOutFile(folder)), heldOut);
  if (prompt === "-") return await readAll(stdin);
  return encode(prompt ?? DEFAULT_PROMPT);
}

/** The folder's heldout*.txt, the first by name. */
function heldOutFile(folder: string): string {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    throw new InputError(`${folder}: ${reason(error)}`);
  }
  const name = names.filter((file) => /^heldout.*\.txt$/.test(file)).sort()[0];
  if (name === undefined) throw new InputError(`${folder}: expected a file heldout*.txt, got none`);
  return join(folder, name);
}

async function readAll(stdin: Input | undefined): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of stdin ?? []) {
    parts.push(part);
    length += part.length;
    if (length > MAX_INPUT) {
      throw new InputError(`standard input: expected at most ${MAX_INPUT} bytes, got more`);
    }
  }
  return Buffer.concat(parts);
}
