/**
 * The whole build: assembly/ → build/*.wasm → src/wasm/generated/*.ts (text) → dist/*.js and dist/types.
 *
 *   node tools/build.js            everything
 *   node tools/build.js wasm       only the kernels, enough for the tests and for tsc
 */
import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { minify } from "terser";
import { asText, buildKernels, renameExports } from "./kernels.js";
import { publicNames } from "./publicnames.js";
import { shortNames } from "./shortnames.js";

process.chdir(new URL("..", import.meta.url).pathname);

/**
 * One file an entry: in a fresh process every further file costs 0.7 ms. What two entries share is in both, except the
 * kernels: who needs them imports `src/index.ts`, which stays an import of ./index.js; so does, for calibration, the
 * oracle, which whoever calibrates has loaded anyhow.
 */
const ENTRIES = {
  index: "src/index.ts",
  reference: "src/reference/index.ts",
  relaxed: "src/relaxed.ts",
  io: "src/io/index.ts",
  onnx: "src/onnx/index.ts",
  verify: "src/verify/index.ts",
  compat: "src/compat/index.ts",
  plan: "src/plan.ts",
  threads: "src/threads.ts",
  calibrate: "src/calibrate/index.ts",
  sparse: "src/sparse/index.ts",
};
/** Those with kernels in them, which are different code in workerd. */
const WITH_KERNELS = ["index", "relaxed", "verify", "compat", "threads"];

const siblings = {
  name: "siblings",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\.?\/index\.ts$/ }, () => ({ path: "./index.js", external: true }));
    onResolve(
      { filter: /^\.\.\/reference\/index\.ts$/ },
      ({ importer }) =>
        importer.includes("/calibrate/") ? { path: "./reference.js", external: true } : undefined,
    );
  },
};

/** workerd compiles no bytes: kernels are imported as modules, which stay imports in the output. */
const workerd = {
  name: "workerd",
  setup({ onResolve }) {
    onResolve(
      { filter: /\/(deterministic|relaxed)\.ts$/ },
      ({ path, resolveDir }) =>
        path.includes("generated")
          ? undefined
          : { path: join(resolveDir, path.replace(/\.ts$/, ".workerd.ts")) },
    );
    onResolve({ filter: /\.wasm$/ }, ({ path }) => ({ path: `./${basename(path)}`, external: true }));
  },
};

/** Kernels stay outside the bundle until it is minified: then their text goes to its end. */
const kernelsLast = {
  name: "kernels last",
  setup({ onLoad }) {
    onLoad({ filter: /\/generated\/(deterministic|relaxed)\.ts$/ }, ({ path }) => ({
      contents: `export const text = "${KERNELS}_${basename(path, ".ts")}";`,
    }));
  },
};
const KERNELS = "KERNELS";

/** Entries whose bytes count, with short names for everything that is in no declaration a user sees. */
const SHORT = ["index", "reference"];
/** What exchanges objects with them. */
const IN_SIGHT = ["index", "reference", "relaxed", "sparse", "threads", "calibrate"];

/** Beyond esbuild's minifier: 2 % of the core gzipped, 4 % of the oracle, and the names another 4 %. */
const smaller = {
  name: "smaller",
  setup({ initialOptions, onEnd }) {
    initialOptions.write = false;
    onEnd(async ({ outputFiles }) => {
      // The kernels' exports are called by index.js alone, so they are called as it calls them.
      let exports = new Map();
      const nameOf = ({ path }) => basename(path, ".js");
      outputFiles.sort((a, b) => (nameOf(b) === "index") - (nameOf(a) === "index"));
      for (const file of outputFiles) {
        const name = nameOf(file);
        const { code } = await minify(file.text, {
          module: true,
          ecma: 2020,
          // In the core a function that is used once stays one: as an expression in its caller it is made at each call.
          compress: {
            passes: 3,
            keep_fargs: false,
            reduce_funcs: name === "reference",
            hoist_funs: true,
            pure_getters: true,
            lhs_constants: false,
          },
          mangle: !SHORT.includes(name),
          // One character beyond Latin-1 doubles what V8 keeps of the source: 0.2 ms of a cold start.
          format: { preserve_annotations: true, ascii_only: true },
        });
        const { text, renamed } = SHORT.includes(name)
          ? shortNames(code, keptNames(file.path))
          : { text: code };
        if (name === "index") exports = renamed;
        mkdirSync(dirname(file.path), { recursive: true });
        writeFileSync(file.path, withKernels(text, exports));
      }
    });
  },
};

const inSight = publicNames("tsconfig.build.json", IN_SIGHT.map((name) => ENTRIES[name]));

function keptNames(path) {
  const kept = new Set([...inSight, "env", "memory", "unpack"]);
  if (!path.includes("/workerd/")) return kept;
  // The host compiled the kernels, with their names.
  const module = new WebAssembly.Module(readFileSync("build/deterministic.wasm"));
  return new Set([...kept, ...WebAssembly.Module.exports(module).map(({ name }) => name)]);
}

/** The kernels as text at the end, where nothing that gzip could refer to lies on their other side. */
function withKernels(code, exports) {
  const [, name] = new RegExp(`"${KERNELS}_(\\w+)"`).exec(code) ?? [];
  if (!name) return code;
  const text = asText(renameExports(readFileSync(`build/${name}.wasm`), exports));
  // No other variable is that long.
  return `${code.replaceAll(`"${KERNELS}_${name}"`, KERNELS)}var ${KERNELS}=${JSON.stringify(text)};`;
}

await buildKernels();
await buildWorker();
if (process.argv[2] !== "wasm") await buildPackage();

/** The worker as one script without imports or exports, in text (src/wasm/spawn.ts) and as dist/worker.js. */
async function buildWorker() {
  const { outputFiles } = await build({
    entryPoints: ["src/wasm/worker.ts"],
    bundle: true,
    format: "iife",
    target: "es2022",
    minify: true,
    write: false,
  });
  writeFileSync(
    "src/wasm/generated/worker.ts",
    `/** src/wasm/worker.ts as one script. Made by tools/build.js. */\n` +
      `export const source: string = ${JSON.stringify(outputFiles[0].text)};\n`,
  );
}

async function buildPackage() {
  rmSync("dist", { recursive: true, force: true });
  const common = {
    bundle: true,
    format: "esm",
    target: "es2022",
    legalComments: "none",
    logLevel: "warning",
    minify: true,
  };
  const entries = { ...common, minify: false, minifyWhitespace: true, minifySyntax: true };
  const withWorkerd = Object.fromEntries(WITH_KERNELS.map((name) => [name, ENTRIES[name]]));
  await build({
    ...entries,
    entryPoints: ENTRIES,
    outdir: "dist",
    plugins: [siblings, kernelsLast, smaller],
  });
  await build({
    ...entries,
    entryPoints: withWorkerd,
    outdir: "dist/workerd",
    plugins: [siblings, workerd, smaller],
  });
  // Beside the code that imports them, and where `flashtile/kernel.wasm` points.
  copyFileSync("build/deterministic.wasm", "dist/workerd/kernel.wasm");
  copyFileSync("build/relaxed.wasm", "dist/workerd/relaxed.wasm");
  await build({ ...common, entryPoints: { worker: "src/wasm/worker.ts" }, outdir: "dist", format: "iife" });
  await build({
    ...common,
    entryPoints: { cli: "src/cli/main.ts" },
    outdir: "dist",
    platform: "node",
    target: "node20",
    // Names stay: stack traces from the command line should be readable.
    minifyIdentifiers: false,
    banner: {
      js:
        '#!/usr/bin/env node\nimport { createRequire as __cr } from "node:module";\nconst require = __cr(import.meta.url);',
    },
  });
  chmodSync("dist/cli.js", 0o755);
  execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"], {
    stdio: "inherit",
  });
  // `using` is in no library before esnext; users with `lib: ["es2022", "dom"]` need it named. JSR forbids it in sources.
  const runtime = "dist/types/runtime.d.ts";
  writeFileSync(runtime, `/// <reference lib="esnext.disposable" />\n${readFileSync(runtime, "utf8")}`);
  writeFileSync(
    "dist/types/kernel.d.ts",
    "/** What bundlers and workerd make of a .wasm file: a compiled module. */\n" +
      "declare const module: WebAssembly.Module;\nexport default module;\n",
  );
}
