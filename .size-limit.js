/** What a user downloads: an entry of the package with every chunk it imports, gzipped; kernels raw. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

function withChunks(entry, seen = new Set()) {
  if (seen.has(entry)) return [];
  seen.add(entry);
  const imports = [...readFileSync(entry, "utf8").matchAll(/(?:from|import)\s*"(\.[^"]+)"/g)];
  return [entry, ...imports.flatMap(([, to]) => withChunks(join(dirname(entry), to), seen))];
}

const script = (name, entry, limit) => ({ name, path: withChunks(entry), limit, gzip: true });
const raw = (name, path, limit) => ({ name, path, limit, brotli: false });

export default [
  script("flashtile", "dist/index.js", "35 kB"),
  script("flashtile/reference", "dist/reference.js", "25 kB"),
  script("flashtile/relaxed", "dist/relaxed.js", "16 kB"),
  script("flashtile/io", "dist/io.js", "14 kB"),
  script("flashtile/onnx", "dist/onnx.js", "38 kB"),
  script("flashtile/verify", "dist/verify.js", "82 kB"),
  script("flashtile/compat", "dist/compat.js", "40 kB"),
  script("flashtile/plan", "dist/plan.js", "4 kB"),
  raw("deterministic kernels", "dist/workerd/kernel.wasm", "40 kB"),
  raw("relaxed kernels", "dist/workerd/relaxed.wasm", "40 kB"),
];
