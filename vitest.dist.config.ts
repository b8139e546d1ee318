/**
 * The tests of the two entries whose names are shortened (tools/shortnames.js), run on what was built: an option, a result
 * or a kernel that lost its name fails here.
 */
import { fileURLToPath } from "node:url";
import { defineConfig, mergeConfig } from "vitest/config";
import config from "./vitest.config.ts";

const TESTS = "{backward,memory,merge,operations,options,plan,reference,runtime,sage,semantics}";

const built = (name: string) => fileURLToPath(new URL(`dist/${name}.js`, import.meta.url));

export default mergeConfig(
  { ...config, test: { ...config.test, include: [`tests/${TESTS}.test.ts`] } },
  defineConfig({
    resolve: {
      alias: [
        { find: /^\.\.\/(\.\.\/)?src\/reference\/index\.ts$/, replacement: built("reference") },
        { find: /^\.\.\/(\.\.\/)?src\/index\.ts$/, replacement: built("index") },
      ],
    },
  }),
);
