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
  script("flashtile", "dist/index.js", "30 kB"),
  script("flashtile/reference", "dist/reference.js", "14 kB"),
  script("flashtile/relaxed", "dist/relaxed.js", "10.4 kB"),
  script("flashtile/sparse", "dist/sparse.js", "5 kB"),
  script("flashtile/calibrate", "dist/calibrate.js", "23 kB"),
  script("flashtile/threads", "dist/threads.js", "32 kB"),
  script("flashtile/io", "dist/io.js", "13 kB"),
  script("flashtile/onnx", "dist/onnx.js", "34 kB"),
  script("flashtile/verify", "dist/verify.js", "75 kB"),
  script("flashtile/compat", "dist/compat.js", "36 kB"),
  script("flashtile/plan", "dist/plan.js", "3 kB"),
  raw("deterministic kernels", "dist/workerd/kernel.wasm", "40 kB"),
  raw("relaxed kernels", "dist/workerd/relaxed.wasm", "40 kB"),
];
