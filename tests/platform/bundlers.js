/** Each bundles main.js with no configuration beyond entry and output; Node runs what comes out. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { bun, node, runProgram } from "./programs.js";

export const BUNDLERS = {
  async esbuild(folder, outfile) {
    const { build } = await import("esbuild");
    await build({
      absWorkingDir: folder,
      entryPoints: ["main.js"],
      bundle: true,
      format: "esm",
      outfile,
      logLevel: "error",
    });
  },
  async rolldown(folder, outfile) {
    const { rolldown } = await import("rolldown");
    const bundle = await rolldown({ cwd: folder, input: "main.js" });
    await bundle.write({ file: outfile, format: "esm" });
    await bundle.close();
  },
  async webpack(folder, outfile) {
    const { default: webpack } = await import("webpack");
    const compiler = webpack({
      context: folder,
      entry: "./main.js",
      mode: "production",
      target: ["web", "es2022"],
      experiments: { outputModule: true },
      output: { path: dirname(outfile), filename: "main.mjs", module: true },
      performance: false,
    });
    const stats = await new Promise((resolve, reject) =>
      compiler.run((error, done) => (error ? reject(error) : resolve(done)))
    );
    if (stats.hasErrors()) throw new Error(stats.toString());
  },
  async vite(folder, outfile) {
    const { build } = await import("vite");
    await build({
      root: folder,
      configFile: false,
      logLevel: "error",
      build: {
        outDir: dirname(outfile),
        emptyOutDir: false,
        lib: {
          entry: join(folder, "main.js"),
          formats: ["es"],
          fileName: () => "main.mjs",
        },
      },
    });
  },
  "bun build"(folder, outfile) {
    if (!bun) return null;
    const { status, stderr } = spawnSync(bun, [
      ...["build", "main.js", "--target=browser", `--outfile=${outfile}`],
    ], { cwd: folder, encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
  },
};

/** Bundles into a folder without node_modules, then runs the result in this Node. */
export async function runBundled(name, folder, elsewhere) {
  const out = join(elsewhere, name.replaceAll(" ", "-"));
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, "package.json"), '{"type":"module"}');
  const outfile = join(out, "main.mjs");
  if (await BUNDLERS[name](folder, outfile) === null) return null;
  return runProgram([node], out, outfile);
}
