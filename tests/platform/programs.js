/**
 * Runtimes that are programs: Node, Bun, Deno. Run by the path of the binary itself: no postinstall script need have
 * linked it, and no wrapper's start is counted as theirs.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { here } from "./workplace.js";

const modules = join(here, "node_modules");

function installed(path) {
  const file = join(modules, path);
  return existsSync(file) ? file : null;
}

/** The binary in the one package of this scope that was made for this machine. */
function native(scope, path) {
  const names = existsSync(join(modules, scope)) ? readdirSync(join(modules, scope)) : [];
  return names.map((name) => installed(join(scope, name, path))).find(Boolean) ?? null;
}

/** Bun's postinstall script moves its binary. */
export const bun = native("@oven", "bin/bun") ?? installed("bun/bin/bun.exe");

/** The machine's own Node: under `npm test` the first one in the path is a dependency of ours. */
export const node = process.env.npm_node_execpath ?? process.execPath;
const isNode20 = spawnSync(node, ["--version"], { encoding: "utf8" }).stdout.startsWith("v20.");

/** Name → command that runs a module; null where it is not installed. */
export const PROGRAMS = {
  "Node 20": [isNode20 ? node : null],
  "Node 22": [installed("node22/bin/node")],
  "Node 24": [installed("node24/bin/node")],
  "Node 26": [installed("node26/bin/node")],
  "Bun": [bun, "run"],
  "Deno, no permissions": [native("@deno", "deno"), "run", "--no-prompt"],
};

/** What the module prints after the word ROW, or null if there is no such program. */
export function runProgram([command, ...args], folder, entry) {
  if (!command) return null;
  const { status, signal, stdout, stderr, error } = spawnSync(command, [...args, entry], {
    cwd: folder,
    encoding: "utf8",
    timeout: 300_000,
    env: { ...process.env, NO_COLOR: "1" },
  });
  const line = stdout?.split("\n").find((text) => text.startsWith("ROW "));
  if (status !== 0 || !line) {
    throw new Error(`${command} ${entry}: ${error ?? signal ?? `exit code ${status}`}\n${stdout}\n${stderr}`);
  }
  return JSON.parse(line.slice(4));
}

/**
 * Milliseconds that the first attention adds to an empty script: the fastest of so many fresh processes with it less the
 * fastest without, taken in turn. Whatever else the machine does only adds.
 */
export function coldStart([command, ...args], folder, pairs = 60) {
  const time = (entry) => {
    const start = performance.now();
    const { status, stderr } = spawnSync(command, [...args, entry], {
      cwd: folder,
      encoding: "utf8",
    });
    if (status !== 0) {
      throw new Error(`${entry}: exit code ${status}\n${stderr}`);
    }
    return performance.now() - start;
  };
  let empty = Infinity;
  let cold = Infinity;
  for (let n = 0; n < pairs; n++) {
    empty = Math.min(empty, time("empty.js"));
    cold = Math.min(cold, time("cold.js"));
  }
  return cold - empty;
}
