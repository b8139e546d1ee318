/**
 * The package as it would be published: packed once, its contents compared with what it may hold, then publint and
 * arethetypeswrong on the tarball.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Everything that may be inside; a model, a test vector or a source map is a mistake. */
const ALLOWED = [
  /^(package\.json|LICENSE|README\.md|CHANGELOG\.md)$/,
  /^dist\/(workerd\/)?[a-z0-9-]+\.js$/i,
  /^dist\/workerd\/(kernel|relaxed)\.wasm$/,
  /^dist\/types\/.*\.d\.ts$/,
];
/** Bytes packed; most of it is the command line and the back ends of `flashtile/verify`. */
const LARGEST = 600_000;

/** What service workers, extensions and strict content security policies refuse, and bundlers stumble over. */
const FORBIDDEN = {
  "dynamic import": /\bimport\s*\(/,
  "import.meta": /\bimport\.meta\b/,
  "eval": /\beval\s*\(/,
  "Function constructor": /\bFunction\s*\(/,
  "require": /\brequire\s*\(/,
};

process.chdir(new URL("..", import.meta.url).pathname);
for (const folder of ["dist", "dist/workerd"]) {
  for (const name of readdirSync(folder).filter((name) => name.endsWith(".js") && name !== "cli.js")) {
    const text = readFileSync(join(folder, name), "utf8");
    for (const [what, pattern] of Object.entries(FORBIDDEN)) {
      if (pattern.test(text)) fail(`${folder}/${name}: ${what}`);
    }
    const alien = [...text.matchAll(/\b(?:from|import)\s*"([^"]+)"/g)].filter(([, to]) =>
      !to.startsWith("./")
    );
    if (alien.length > 0) fail(`${folder}/${name}: imports ${alien.map(([, to]) => to).join(", ")}`);
  }
}
// Declarations as a user with an older library and without skipLibCheck reads them.
const entries = ["index", "relaxed", "plan", "threads", "kernel", "wasm/worker"].map((name) =>
  `dist/types/${name}.d.ts`
);
const parts = ["verify", "reference", "io", "onnx", "compat", "sparse", "calibrate"].map((name) =>
  `dist/types/${name}/index.d.ts`
);
const library = ["--noEmit", "--strict", "--ignoreConfig", "--target", "es2022", "--lib", "es2022,dom"];
run("tsc", [...library, "--module", "nodenext", ...entries, ...parts]);
const folder = mkdtempSync(join(tmpdir(), "flashtile-pack-"));
try {
  // Without scripts: `prepare` would build again, under the feet of whoever uses dist.
  const [packed] = JSON.parse(execFileSync("npm", [
    ...["pack", "--json", "--ignore-scripts", "--loglevel=error"],
    ...["--pack-destination", folder],
  ], { encoding: "utf8" }));
  const tarball = join(folder, packed.filename);
  const stray = packed.files.map(({ path }) => path).filter((path) =>
    !ALLOWED.some((name) => name.test(path))
  );
  if (stray.length > 0) fail(`package: holds ${stray.join(", ")}`);
  if (packed.size > LARGEST) fail(`package: expected at most ${LARGEST} bytes, got ${packed.size}`);
  console.log(`${packed.filename}: ${packed.files.length} files, ${packed.size} bytes packed`);
  run("publint", ["run", tarball, "--strict"]);
  run("attw", [tarball, "--profile", "esm-only", "--format", "ascii"]);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function run(command, args) {
  const { status } = spawnSync(join("node_modules/.bin", command), args, { stdio: "inherit" });
  if (status !== 0) fail(`${command}: exit code ${status}`);
}

function fail(message) {
  console.error(message);
  process.exitCode = 1;
}
