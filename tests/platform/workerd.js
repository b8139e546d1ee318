/** workerd through miniflare: kernels come as a compiled module, the only way workerd allows. */
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { build } from "esbuild";

export async function workerdRow(folder) {
  const { Miniflare } = await import("miniflare");
  const wasm = new Map();
  const { outputFiles } = await build({
    absWorkingDir: folder,
    entryPoints: ["workerd.js"],
    bundle: true,
    format: "esm",
    conditions: ["workerd", "worker"],
    write: false,
    logLevel: "error",
    plugins: [{
      name: "wasm-modules",
      setup({ onResolve }) {
        onResolve({ filter: /\.wasm$/ }, ({ path, importer }) => {
          const file = join(dirname(importer), path);
          wasm.set(`./${basename(file)}`, file);
          return { path: `./${basename(file)}`, external: true };
        });
      },
    }],
  });
  const miniflare = new Miniflare({
    modules: [
      { type: "ESModule", path: "main.js", contents: outputFiles[0].text },
      ...[...wasm].map(([path, file]) => ({
        type: "CompiledWasm",
        path: basename(path),
        contents: readFileSync(file),
      })),
    ],
    compatibilityDate: "2026-04-01",
  });
  try {
    const response = await miniflare.dispatchFetch("http://localhost/");
    const text = await response.text();
    if (response.status !== 200) throw new Error(text);
    return JSON.parse(text);
  } finally {
    await miniflare.dispose();
  }
}
