/** `npm run docs:precision-model`: measures the shipped model in every precision and writes docs/precision-model.md. */
import { build } from "esbuild";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

process.chdir(new URL("..", import.meta.url).pathname);
const outfile = resolve("build/precision-model.mjs");
await build({
  entryPoints: ["tools/precision/model.ts"],
  outfile,
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  packages: "external",
  logLevel: "warning",
});
await import(pathToFileURL(outfile).href);
