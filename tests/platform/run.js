/**
 * The packed tarball in every runtime and bundler that is here, one row each. A row passes if every conformance case
 * does and both hashes are those of hashes.json; a runtime that is not installed is `absent`, never passed.
 *
 *   node run.js             runs, prints the matrix, exits with 1 if a row failed
 *   node run.js PATTERN     only the rows whose name contains PATTERN
 *   node run.js --readme    also pastes the matrix into README.md
 *   node run.js --hashes    takes the hashes of the first row as the right ones (after a change that must change bits)
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openBrowsers } from "./browsers.js";
import { BUNDLERS, runBundled } from "./bundlers.js";
import { matrix, paste } from "./matrix.js";
import { coldStart, PROGRAMS, runProgram } from "./programs.js";
import { workerdRow } from "./workerd.js";
import { here, makeWorkplace } from "./workplace.js";

const { values: flags, positionals: [pattern = ""] } = parseArgs({
  options: { readme: { type: "boolean" }, hashes: { type: "boolean" } },
  allowPositionals: true,
});
/** Megabytes that 10,000 runtimes, each created, used and closed, may leave behind. */
const MAX_GROWTH = 30;
const hashesFile = join(here, "hashes.json");
let expected = flags.hashes ? null : JSON.parse(readFileSync(hashesFile, "utf8"));
const { folder } = await makeWorkplace();
const browsers = openBrowsers(folder);
const rows = [];

for (const { name, work } of tasks()) {
  if (!name.includes(pattern)) continue;
  const { row, error } = await attempt(work);
  if (row && !expected) {
    expected = { deterministic: row.deterministic, oracle: row.oracle };
    writeFileSync(hashesFile, `${JSON.stringify(expected, null, 2)}\n`);
  }
  const verdict = error ? "failed" : row === null ? "absent" : judge(row);
  rows.push({ name, row, verdict });
  const details = error ? [error.stack ?? error] : row?.failures ?? [];
  console.error([`${verdict.padEnd(7)} ${name}`, ...details].join("\n  "));
}

await browsers.close();

const table = matrix(rows);
console.log(table);
if (flags.readme) paste(table, join(here, "../../README.md"));

const count = (verdict) => rows.filter((row) => row.verdict === verdict).length;
console.log(`\n${count("passed")} passed, ${count("failed")} failed, ${count("absent")} skipped`);
process.exitCode = count("failed") ? 1 : 0;

function* tasks() {
  for (const [name, command] of Object.entries(PROGRAMS)) {
    yield {
      name,
      work: () => {
        const row = runProgram(command, folder, "main.js");
        if (!row) return null;
        const { growth } = runProgram(command, folder, "lifetime.js");
        if (growth > MAX_GROWTH) {
          row.failures.push(`lifetime: grew by ${growth.toFixed(0)} MB`);
        }
        return { ...row, growth, cold: coldStart(command, folder) };
      },
    };
  }
  yield { name: "workerd", work: () => workerdRow(folder) };
  for (const name of Object.keys(BUNDLERS)) {
    yield {
      name: `${name}, run by Node`,
      work: () => runBundled(name, folder, join(folder, "bundled")),
    };
  }
  yield* browsers.tasks();
}

async function attempt(work) {
  try {
    return { row: await work() };
  } catch (error) {
    return { row: null, error };
  }
}

function judge({ deterministic, oracle, passed, total }) {
  const same = deterministic === expected.deterministic &&
    oracle === expected.oracle;
  return same && passed === total && total > 0 ? "passed" : "failed";
}
