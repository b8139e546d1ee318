/** Files and folders on the command line → case files, read one at a time. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { InputError } from "./io.ts";

export interface CasePath {
  readonly path: string;
  /** What reports call it: the path from the folder that was named, without its ending. */
  readonly name: string;
}

const ENDING = ".safetensors";

/**
 * The case files that an argument stands for, in the order of their names: itself, or all in the folder.
 *
 * @throws {InputError} There is nothing of that name, or the folder holds no case file.
 */
export function casePaths(argument: string): CasePath[] {
  if (!statOf(argument).isDirectory()) return [{ path: argument, name: stem(basename(argument)) }];
  const found = readdirSync(argument, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ENDING)).sort();
  if (found.length === 0) throw new InputError(`${argument}: expected files *${ENDING}, got none`);
  return found.map((name) => {
    const path = join(argument, name);
    return { path, name: stem(relative(argument, path)) };
  });
}

/** @throws {InputError} It cannot be read. */
export function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new InputError(`${path}: ${reason(error)}`);
  }
}

function statOf(path: string) {
  try {
    return statSync(path);
  } catch (error) {
    throw new InputError(`${path}: ${reason(error)}`);
  }
}

/** What the system said, in a few words. */
export function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const known: Record<string, string> = {
    ENOENT: "no such file or folder",
    EACCES: "permission denied",
    EISDIR: "expected a file, got a folder",
    ENOTDIR: "expected a folder, got a file",
    ERR_FS_FILE_TOO_LARGE: "too large to read at once",
    ENOSPC: "no space left",
  };
  return known[code ?? ""] ?? message;
}

function stem(name: string): string {
  return name.endsWith(ENDING) ? name.slice(0, -ENDING.length) : name;
}
