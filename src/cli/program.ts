/**
 * The command line: `flashtile COMMAND …` → exit code.
 *
 * 0 all is well, 1 something was checked and is wrong, 2 the input or the command line was unusable. Results go to
 * stdout; progress and errors, one line each, to stderr. A command's code is imported when the command runs.
 */
import { Command, CommanderError } from "commander";
import pkg from "../../package.json" with { type: "json" };
import { addCasesCommand } from "./cases.ts";
import { addDiffCommand } from "./diff.ts";
import { addGenerateCommand } from "./generate.ts";
import { type Io, messageOf } from "./io.ts";
import { addRunCommand } from "./run.ts";
import { addPlanCommand } from "./tiles.ts";
import { addVerifyCommand } from "./verify.ts";

/** Adds a command to the program; `exit` tells the code if it isn't 0. */
export type AddCommand = (program: Command, io: Io, exit: (code: number) => void) => void;

const COMMANDS: readonly AddCommand[] = [
  addVerifyCommand,
  addRunCommand,
  addGenerateCommand,
  addDiffCommand,
  addCasesCommand,
  addPlanCommand,
];

/** Runs one command line and returns its exit code; never throws, never calls process.exit. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  let code = 0;
  const program = new Command("flashtile")
    .description(
      "Exact attention, checked: verify, run and compare attention cases on the oracle and on WebAssembly.",
    )
    .version(pkg.version, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help")
    .showHelpAfterError(false);
  for (const add of COMMANDS) add(program, io, (asked) => (code = Math.max(code, asked)));
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text.replace(/^error: /, "flashtile: ")),
      getOutHelpWidth: () => io.stdout.columns ?? 100,
      getErrHelpWidth: () => io.stderr.columns ?? 100,
    });
  }
  program.addHelpText(
    "after",
    `
Exit codes: 0 all is well; 1 a case failed; 2 a file, folder or option was unusable.`,
  );
  try {
    await program.parseAsync(argv, { from: "user" });
    return code;
  } catch (error) {
    // Commander has printed its own message, or the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    io.stderr.write(`flashtile: ${messageOf(error)}\n`);
    return 2;
  }
}
