/** The examples of docstrings and README: where they are and what they say they print. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const root = new URL("../..", import.meta.url).pathname;

/** Sub-path → source, as package.json's exports lead to what is built from it. */
export const ENTRIES: Readonly<Record<string, string>> = {
  "flashtile": "src/index.ts",
  "flashtile/reference": "src/reference/index.ts",
  "flashtile/relaxed": "src/relaxed.ts",
  "flashtile/compat": "src/compat/index.ts",
  "flashtile/plan": "src/plan.ts",
  "flashtile/threads": "src/threads.ts",
  "flashtile/calibrate": "src/calibrate/index.ts",
  "flashtile/sparse": "src/sparse/index.ts",
  "flashtile/onnx": "src/onnx/index.ts",
  "flashtile/verify": "src/verify/index.ts",
  "flashtile/io": "src/io/index.ts",
};

export interface Example {
  /** File and line of the code. */
  readonly name: string;
  readonly language: "ts" | "js";
  readonly code: string;
  /** What follows `//` after each console.log, in order; null for a console.log without. */
  readonly prints: readonly (string | null)[];
}

/** Every ```ts block after an `@example` in src, every ```js block of the README. */
export function examples(): Example[] {
  const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.startsWith("cli/") && !file.includes("generated"))
    .map((file) => `src/${file}`);
  return [
    ...sources.flatMap((file) =>
      blocks(file, "ts", /@example\n(?: *\*\n)* *\* ```ts\n([\s\S]*?)\n *\* ```/g)
    ),
    ...blocks("README.md", "js", /^```js\n([\s\S]*?)\n```/gm),
  ];
}

function blocks(file: string, language: Example["language"], pattern: RegExp): Example[] {
  const text = readFileSync(join(root, file), "utf8");
  return [...text.matchAll(pattern)].map((match) => {
    // In docstrings there is an asterisk before each line.
    const lines = match[1]!.split("\n").map((line) => language === "ts" ? line.replace(/^ *\* ?/, "") : line);
    const line = text.slice(0, match.index + match[0].indexOf(match[1]!)).split("\n").length;
    const prints = lines.filter((line) => line.includes("console.log(")).map((line) =>
      /\);\s*\/\/ (.*)$/.exec(line)?.[1] ?? null
    );
    // Examples of what no sub-path exports import sources, from the root of the repository.
    const code = lines.join("\n").replaceAll('from "./src/', `from "${root}src/`);
    return { name: `${file}:${line}`, language, code, prints };
  });
}
