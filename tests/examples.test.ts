/** Every example runs, against the sources, and says what it should. */
import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { run } from "../src/cli/program.ts";

const root = new URL("..", import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), "flashtile-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** What the example prints. */
async function output(name: string, ...args: string[]): Promise<string> {
  const outfile = join(scratch, `${name}.mjs`);
  await build({
    entryPoints: [join(root, "examples", `${name}.js`)],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    // In place of the package's exports, which lead to what was built last.
    plugins: [{
      name: "sources",
      setup({ onResolve }) {
        const entries: Record<string, string> = { flashtile: "index.ts", "flashtile/io": "io/index.ts" };
        entries["flashtile/reference"] = "reference/index.ts";
        onResolve({ filter: /^flashtile/ }, ({ path }) => ({ path: join(root, "src", entries[path]!) }));
      },
    }],
    // Examples find the model by their own place.
    define: { "import.meta.url": JSON.stringify(new URL("../examples/main.js", import.meta.url).href) },
  });
  return execFileSync(process.execPath, [outfile, ...args], { cwd: scratch, encoding: "utf8" });
}

async function flashtile(...args: string[]): Promise<{ code: number; stdout: string }> {
  let stdout = "";
  const code = await run(args, {
    stdout: { write: (text) => void (stdout += text) },
    stderr: { write: (text) => expect.fail(text) },
  });
  return { code, stdout };
}

describe("examples", () => {
  const tests: Record<string, () => Promise<void>> = {
    "attention.js": async () => {
      const text = await output("attention");
      expect(text).toMatch(/^out \[1,8,256,64\], lse \[1,8,256\] in [\d.]+ ms$/m);
      expect(text).toMatch(/^largest difference from float64: \d\.\de-[78]$/m);
    },
    "casefile.js": async () => {
      expect(await output("casefile")).toMatch(/^wrote mine\.safetensors/);
      const { code, stdout } = await flashtile("verify", join(scratch, "mine.safetensors"));
      expect({ code, stdout }).toEqual({ code: 0, stdout: "ok mine\n1 passed, 0 failed\n" });
    },
    "llama.js": async () => {
      const prompt = "The whale";
      const { stdout } = await flashtile(
        ...["generate", "--json", "--prompt", prompt, "--tokens", "60", "--temperature", "0"],
      );
      expect(await output("llama", prompt, "60")).toBe(`${prompt}${JSON.parse(stdout).text}\n`);
    },
  };

  it("are all tested", () => {
    expect(readdirSync(join(root, "examples")).sort()).toEqual(Object.keys(tests).sort());
  });

  it.each(Object.entries(tests))("%s", async (_, test) => await test());
});
