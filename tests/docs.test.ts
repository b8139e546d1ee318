/** Docstrings: every public name has one, every function an example, and every example runs and prints what it says. */
import { build } from "esbuild";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { format } from "node:util";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";
import { ENTRIES, examples, root } from "./support/docs.ts";

const all = examples();
const scratch = mkdtempSync(join(tmpdir(), "flashtile-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const source = (n: number) => join(scratch, `example${n}.${all[n]!.language}`);

beforeAll(async () => {
  writeFileSync(join(scratch, "package.json"), '{"type":"module"}');
  all.forEach(({ code }, n) => writeFileSync(source(n), `${code}\nexport {};\n`));
  await build({
    entryPoints: all.map((_, n) => source(n)),
    outdir: scratch,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    // In place of the package's exports, which lead to what was built last.
    alias: Object.fromEntries(Object.entries(ENTRIES).map(([name, file]) => [name, join(root, file)])),
  });
});

describe("examples", () => {
  it("are found", () => {
    expect(all.length).toBeGreaterThan(10);
    expect(all.some(({ name }) => name.startsWith("README.md:"))).toBe(true);
  });

  for (const [n, { name, code, prints }] of all.entries()) {
    const runs = hasRelaxedSimd() || !code.includes("kernels: relaxed");
    it(`${name} ${runs ? "prints what it says" : "needs relaxed SIMD, and says so"}`, async () => {
      const log = vi.spyOn(console, "log").mockImplementation(() => {});
      try {
        const run = import(/* @vite-ignore */ join(scratch, `example${n}.mjs`));
        if (!runs) return await expect(run).rejects.toMatchObject({ code: "NO_SIMD" });
        await run;
        expect(log.mock.calls.map((values) => format(...values))).toEqual(prints);
      } finally {
        log.mockRestore();
      }
    });
  }
});

describe("docstrings", () => {
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile).config,
    ts.sys,
    root,
  );
  const paths = Object.fromEntries(Object.entries(ENTRIES).map(([name, file]) => [name, [join(root, file)]]));
  const typed = [...all.keys()].filter((n) => all[n]!.language === "ts");
  const entries = Object.values(ENTRIES).map((file) => join(root, file));
  let checked: ts.Program;
  beforeAll(() => {
    checked = ts.createProgram([...typed.map(source), ...entries], {
      ...options,
      paths,
      typeRoots: [join(root, "node_modules/@types")],
      noUnusedLocals: false,
      noUnusedParameters: false,
    });
  });

  it("examples have no type errors", () => {
    const errors = typed.flatMap((n) =>
      ts.getPreEmitDiagnostics(checked, checked.getSourceFile(source(n)))
        .map(({ messageText }) => `${all[n]!.name}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`)
    );
    expect(errors).toEqual([]);
  });

  it("every export has a docstring, every function and class an example", () => {
    const checker = checked.getTypeChecker();
    const missing: string[] = [];
    for (const [entry, file] of Object.entries(ENTRIES)) {
      const module = checker.getSymbolAtLocation(checked.getSourceFile(join(root, file))!)!;
      for (const name of checker.getExportsOfModule(module)) {
        const symbol = name.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(name) : name;
        if (symbol.getJsDocTags(checker).some((tag) => tag.name === "internal")) continue;
        if (symbol.getDocumentationComment(checker).length === 0) {
          missing.push(`${entry} ${name.name}: docstring`);
        }
        const isCode = symbol.flags & (ts.SymbolFlags.Function | ts.SymbolFlags.Class);
        const tags = [symbol, ...(symbol.exports?.values() ?? [])].flatMap((each) =>
          each.getJsDocTags(checker)
        );
        if (isCode && !tags.some((tag) => tag.name === "example")) {
          missing.push(`${entry} ${name.name}: @example`);
        }
      }
    }
    expect(missing).toEqual([]);
  });
});
