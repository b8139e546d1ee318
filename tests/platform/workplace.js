/**
 * A folder as a user would have it: the packed tarball in node_modules, our probe beside it, nothing of the checkout.
 */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

export const here = fileURLToPath(new URL(".", import.meta.url));
const root = join(here, "../..");

/** Golden cases larger than this would only make the probe heavy: what they test does not depend on the runtime. */
const LARGEST_VECTOR = 48_000;

export async function makeWorkplace() {
  const folder = mkdtempSync(join(tmpdir(), "flashtile-platform-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  // Without scripts: what is packed is what was built and tested.
  const [{ filename }] = JSON.parse(
    execFileSync("npm", [
      "pack",
      "--json",
      "--ignore-scripts",
      "--loglevel=error",
      "--pack-destination",
      folder,
    ], {
      cwd: root,
      encoding: "utf8",
    }),
  );
  const home = join(folder, "node_modules/flashtile");
  mkdirSync(home, { recursive: true });
  execFileSync("tar", ["-xzf", join(folder, filename), "--strip-components=1", "-C", home]);
  const json = (name, content) => writeFileSync(join(folder, name), JSON.stringify(content));
  json("package.json", { name: "user", private: true, type: "module" });
  json("deno.json", { nodeModulesDir: "manual" });
  cpSync(join(here, "probe"), folder, { recursive: true });
  writeFileSync(join(folder, "vectors.js"), `export const vectors = ${JSON.stringify(vectors())};\n`);
  await bundleMath(join(folder, "math.js"));
  return { folder };
}

/** The small golden cases, by name, in base64. */
function vectors() {
  const golden = join(root, "tests/vectors/golden");
  return Object.fromEntries(
    readdirSync(golden)
      .filter((name) =>
        name.endsWith(".safetensors") &&
        statSync(join(golden, name)).size <= LARGEST_VECTOR
      )
      .map((name) => [name, readFileSync(join(golden, name)).toString("base64")]),
  );
}

/** The oracle's elementary functions, which no sub-path exports, and the bits they must give. */
function bundleMath(outfile) {
  return build({
    stdin: {
      contents: 'export * from "./tests/support/mathHash.ts";\n' +
        'export * as mathFunctions from "./src/reference/math.ts";\n',
      resolveDir: root,
    },
    bundle: true,
    format: "esm",
    outfile,
  });
}
