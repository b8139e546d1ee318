/** docs/api is what the docstrings say now: generated again, elsewhere, and compared. `npm run docs` brings it up to date. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

process.chdir(new URL("..", import.meta.url).pathname);
const fresh = mkdtempSync(join(tmpdir(), "flashtile-docs-"));
try {
  execFileSync("node_modules/.bin/typedoc", ["--out", fresh, "--logLevel", "Warn"], { stdio: "inherit" });
  const [then, now] = ["docs/api", fresh].map(pages);
  const stale = [...new Set([...then.keys(), ...now.keys()])].filter((name) =>
    then.get(name) !== now.get(name)
  );
  if (stale.length > 0) {
    console.error(`docs/api: ${stale.join(", ")} not up to date; npm run docs`);
    process.exitCode = 1;
  }
} finally {
  rmSync(fresh, { recursive: true, force: true });
}

function pages(folder) {
  const names = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".md"));
  return new Map(names.map((name) => [name, readFileSync(join(folder, name), "utf8")]));
}
