/**
 * `npm run fuzz [-- PATTERN]`: the long fuzzers, one after the other, with the counts below unless FLASHTILE_FUZZ says
 * otherwise; FLASHTILE_SEED=n starts elsewhere. Failures print their seeds.
 */
import { spawnSync } from "node:child_process";

const LONG = [
  ["tests/forward.fuzz.test.ts", 50_000],
  ["tests/io.fuzz.test.ts", 30_000],
  ["tests/quantisedbounds.test.ts", 5_000],
  ["tests/quantisedkernels.test.ts", 5_000],
];

process.chdir(new URL("..", import.meta.url).pathname);
const seed = process.env.FLASHTILE_SEED ?? "1";
let failed = 0;
for (const [file, count] of LONG.filter(([file]) => file.includes(process.argv[2] ?? ""))) {
  const runs = process.env.FLASHTILE_FUZZ ?? String(count);
  console.log(`${file}: ${runs} from seed ${seed}`);
  const { status } = spawnSync(process.execPath, ["node_modules/vitest/vitest.mjs", "run", file], {
    stdio: "inherit",
    env: { ...process.env, FLASHTILE_FUZZ: runs, FLASHTILE_SEED: seed },
  });
  if (status !== 0) failed++;
}
process.exit(failed > 0 ? 1 : 0);
