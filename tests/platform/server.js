/**
 * Serves a folder to the browsers with the headers that its first path segment names: /isolated,csp/page.html. Relative
 * URLs keep the segment, so that whatever a page loads comes with the same headers.
 */
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const HEADERS = {
  isolated: {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
  },
  csp: {
    "content-security-policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'",
  },
};
const TYPES = {
  ".js": "text/javascript",
  ".html": "text/html",
  ".wasm": "application/wasm",
};

/** Bare names as a page without bundler would write them. */
export const DIST = "./node_modules/flashtile/dist/";

export function resolveBareNames(script) {
  return script.replace(
    /from "flashtile(?:\/([a-z]+))?"/g,
    (_, name = "index") => `from "${DIST}${name}.js"`,
  );
}

export async function startServer(folder) {
  const server = createServer((request, response) => {
    const [, flags, ...rest] = new URL(request.url, "http://localhost").pathname
      .split("/");
    const file = join(folder, normalize(rest.join("/")));
    if (!file.startsWith(folder) || rest.length === 0 || !existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    const headers = flags.split(",").map((flag) => HEADERS[flag]);
    response.writeHead(200, Object.assign({ "cache-control": "no-store", "content-type": type }, ...headers));
    const ours = extname(file) === ".js" && !rest.includes("node_modules");
    response.end(ours ? resolveBareNames(readFileSync(file, "utf8")) : readFileSync(file));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close: () => server.close(),
  };
}
