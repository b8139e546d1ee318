/** The arrows of ARCHITECTURE.md, read off the code's own imports. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const root = new URL("..", import.meta.url).pathname;

interface Import {
  from: string;
  to: string;
  typeOnly: boolean;
}

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(folder, name));
}

function imports(folder: string): Import[] {
  return sources(folder).flatMap((from) => {
    const text = readFileSync(join(root, from), "utf8").replaceAll(/\/\*[^]*?\*\//g, "");
    const found = text.matchAll(
      /^(?:import|export)\s+(type\s)?[^"';]*?from\s+"([^"]+)"|import\("([^"]+)"\)/gm,
    );
    return [...found].map((match) => {
      const name = match[2] ?? match[3];
      const to = name.startsWith(".") ? relative(root, join(root, dirname(from), name)) : name;
      return { from, to, typeOnly: Boolean(match[1]) };
    });
  });
}

const all = imports("src");
const room = (path: string) => path.split("/").slice(0, 2).join("/");

/** Imports that leave `from` for one of the rooms that it must not know; a type is no dependency at run time. */
function forbidden(from: string, to: string[]): string[] {
  return all
    .filter((edge) => !edge.typeOnly && room(edge.from) === from && to.includes(room(edge.to)))
    .map((edge) => `${edge.from} → ${edge.to}`);
}

/** Libraries that are bundled into a sub-path of the package on purpose. */
const BUNDLED = new Set(["src/io/npz.ts fflate", "src/io/unpack.ts fflate"]);

describe("arrows", () => {
  it("finds the imports it checks", () => {
    expect(all.length).toBeGreaterThan(20);
    expect(all.some((edge) => edge.from === "src/problem.ts" && edge.to === "src/tensor.ts")).toBe(true);
  });

  it("reference imports no wasm, ops or plan", () => {
    expect(forbidden("src/reference", ["src/wasm", "src/ops", "src/plan", "src/cache"])).toEqual([]);
  });

  it("ops, wasm and plan import no reference: no silent detour through JavaScript", () => {
    for (const from of ["src/ops", "src/wasm", "src/plan"]) {
      expect(forbidden(from, ["src/reference"]), from).toEqual([]);
    }
  });

  it("plan touches no buffers", () => {
    expect(forbidden("src/plan", ["src/wasm", "src/ops"])).toEqual([]);
  });

  it("only the CLI imports Node's modules or packages", () => {
    const outside = all.filter((edge) =>
      !edge.from.startsWith("src/cli/") && !edge.to.startsWith("src/") &&
      !BUNDLED.has(`${edge.from} ${edge.to}`)
    );
    expect(outside.map((edge) => `${edge.from} → ${edge.to}`)).toEqual([]);
  });

  it("assembly allocates nothing and keeps no state", () => {
    for (const file of sources("assembly")) {
      const text = readFileSync(join(root, file), "utf8");
      expect(text.match(/^(export )?let |\bnew [A-Z]|heap\.alloc|memory\.grow/m)?.[0], file).toBeUndefined();
    }
  });
});
