/**
 * Faults in files: a SyntaxError of the form `file: field: expected …, got …`, on one line whatever the file holds.
 */

/** Throws the SyntaxError of a file. `field` names what is wrong, `problem` says what was expected. */
export type Fail = (field: string, problem: string) => never;

/** A thrower of faults in the file called `file`. */
export function faultsOf(file: string): Fail {
  return (field, problem) => {
    throw new SyntaxError(`${file}: ${field}: ${problem}`);
  };
}

/** A piece of a file made fit for a message: at most 64 characters, with nothing that moves a terminal's cursor. */
export function printable(text: string): string {
  if (text === "") return '""';
  const short = text.length > 64 ? `${text.slice(0, 64)}…` : text;
  return short.replace(/[^\p{L}\p{N}\p{P}\p{S} ]/gu, (c) => `\\u{${c.codePointAt(0)!.toString(16)}}`);
}

/** Does `text` hold half a surrogate pair, which UTF-8 cannot write? */
export function isBroken(text: string): boolean {
  return /\p{Surrogate}/u.test(text);
}
