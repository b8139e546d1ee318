/** `npm run docs:precision`: measures every precision (tools/precision/main.ts) and writes docs/precision.md. */
import { build } from "esbuild";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

process.chdir(new URL("..", import.meta.url).pathname);
const outfile = resolve("build/precision.mjs");
await build({
  entryPoints: ["tools/precision/main.ts"],
  outfile,
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  packages: "external",
  logLevel: "warning",
});
await import(pathToFileURL(outfile).href);
