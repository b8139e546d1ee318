/** Every `@example` of the package's exports runs, and prints what its comments say. */
import { build } from "esbuild";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { format } from "node:util";
import { afterAll, describe, expect, it, vi } from "vitest";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";

const root = new URL("..", import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), "flashtile-"));
afterAll(() => rmSync(scratch, { recursive: true }));

interface Example {
  readonly name: string;
  readonly code: string;
  /** The comments behind console.log. */
  readonly prints: string[];
}

function examples(path: string): Example[] {
  const text = readFileSync(join(root, "src", path), "utf8");
  return [...text.matchAll(/@example[^\n]*\n\s*\* ```ts\n([\s\S]*?)\n\s*\* ```/g)].map((match, n) => {
    const lines = match[1]!.split("\n").map((line) => line.replace(/^\s*\* ?/, ""));
    const prints = lines.flatMap((line) => /console\.log\(.*\); \/\/ (.*)$/.exec(line)?.[1] ?? []);
    return {
      name: `${path.replace(".ts", "").replaceAll("/", ".")}.${n + 1}`,
      code: lines.join("\n"),
      prints,
    };
  });
}

const all = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts") && !path.includes("generated"))
  .flatMap(examples)
  // An example that imports nothing is for its readers alone.
  .filter(({ code }) => / from "(flashtile|\.\/src\/)/.test(code));

/** flashtile/name is src/name.ts, or src/name/index.ts. */
function entry(path: string): string {
  const name = path.slice("flashtile/".length) || "index";
  const file = join(root, "src", `${name}.ts`);
  return existsSync(file) ? file : join(root, "src", name, "index.ts");
}

/** The example as one module. */
async function bundle({ name, code }: Example): Promise<string> {
  const outfile = join(scratch, `${name}.mjs`);
  await build({
    stdin: { contents: code, loader: "ts", sourcefile: `${name}.ts`, resolveDir: root },
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "silent",
    plugins: [{
      name: "sources",
      setup: ({ onResolve }) => onResolve({ filter: /^flashtile/ }, ({ path }) => ({ path: entry(path) })),
    }],
  });
  return outfile;
}

describe("examples in the documentation", () => {
  it("are found", () => expect(all.length).toBeGreaterThan(10));

  for (const example of all) {
    const relaxed = example.code.includes("flashtile/relaxed");
    it.skipIf(relaxed && !hasRelaxedSimd())(example.name, async () => {
      const file = await bundle(example);
      const printed: string[] = [];
      const spy = vi.spyOn(console, "log").mockImplementation((...args) =>
        void printed.push(format(...args))
      );
      try {
        await import(/* @vite-ignore */ file);
      } finally {
        spy.mockRestore();
      }
      expect(example.prints.length).toBeGreaterThan(0);
      expect(printed).toEqual(example.prints);
    });
  }
});
