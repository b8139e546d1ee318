/** `node tools/bench.js NAME …` bundles bench/NAME.ts (default kernels) and runs it with the other arguments. */
import { build } from "esbuild";
import { pathToFileURL } from "node:url";
import { resolve } from "node:path";

process.chdir(new URL("..", import.meta.url).pathname);
const name = /^[a-z]+$/.test(process.argv[2] ?? "") ? process.argv.splice(2, 1)[0] : "kernels";
const outfile = resolve(`build/bench/${name}.mjs`);
await build({
  entryPoints: [`bench/${name}.ts`],
  outfile,
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  packages: "external",
  logLevel: "warning",
});
await import(pathToFileURL(outfile).href);
