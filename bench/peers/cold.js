/**
 * Cold start: what the first attention (N=128 H=4 D=64) adds to an empty script, each in a fresh process, in turn.
 * The fastest of `--runs` with it less the fastest without: whatever else the machine does only adds. Ratios to
 * flashtile's are what compares between machines.
 *
 *   node cold.js [--runs N]
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { markdownTable } from "markdown-table";
import { multiHeadAttention } from "./models.js";

const { values: { runs } } = parseArgs({ options: { runs: { type: "string", default: "15" } } });
const NAMES = ["empty script", "flashtile", "onnxruntime-web", "onnxruntime-node", "tfjs-wasm"];
const first = new URL("first.js", import.meta.url).pathname;

const folder = mkdtempSync(join(tmpdir(), "flashtile-cold-"));
try {
  const model = join(folder, "mha.onnx");
  writeFileSync(model, multiHeadAttention({ H: 4, N: 128, D: 64, causal: false }));
  const fastest = NAMES.map(() => Infinity);
  for (let run = 0; run < Number(runs); run++) {
    NAMES.forEach((name, x) => (fastest[x] = Math.min(fastest[x], time(name, model))));
  }
  const added = fastest.map((ms) => ms - fastest[0]);
  console.log(markdownTable([
    [`Node ${process.versions.node}`, "ms over an empty script", "times flashtile's"],
    ...NAMES.slice(1).map((name, x) => [name, added[x + 1].toFixed(1), (added[x + 1] / added[1]).toFixed(1)]),
  ]));
} finally {
  rmSync(folder, { recursive: true });
}

function time(name, model) {
  const start = performance.now();
  const { status, stderr } = spawnSync(process.execPath, [first, name, model], { encoding: "utf8" });
  if (status !== 0) throw new Error(`${name}: exit code ${status}\n${stderr}`);
  return performance.now() - start;
}
