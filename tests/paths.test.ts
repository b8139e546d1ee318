/**
 * Which code computes the conformance cases on the kernels: WebAssembly, but for what is float64 or a subgraph. Every
 * output is within its bound on the way.
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readSafetensors } from "../src/io/safetensors.ts";
import { relaxed } from "../src/relaxed.ts";
import { createRuntime } from "../src/runtime.ts";
import { verifyFile } from "../src/verify/index.ts";
import { kernels } from "../src/verify/kernels.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";
import { deterministic } from "../src/wasm/deterministic.ts";

const vectors = new URL("vectors/", import.meta.url);
const files = ["golden", "onnx"].flatMap((folder) =>
  readdirSync(new URL(folder, vectors)).filter((name) => name.endsWith(".safetensors"))
    .map((name) => `${folder}/${name}`)
);

/** Scores or probabilities go through nodes of the file; or the inputs are float64. */
const ORACLE = ["causal_mask", "double", "prob_mod", "relative_positional", "score_mod", "soft_cap"]
  .map((name) => `onnx/test_flexattention_${name}.safetensors`);

describe.each(hasRelaxedSimd() ? [deterministic, relaxed] : [deterministic])("$name kernels", (build) => {
  it("compute every conformance case but float64 and closures", async () => {
    const runtime = await createRuntime({ kernels: build });
    const backend = kernels(runtime);
    expect(files.length).toBe(252);
    const elsewhere: string[] = [];
    for (const name of files) {
      const file = readSafetensors(readFileSync(new URL(name, vectors)), { name });
      // All outputs of a node; of the others what the kernels have so far.
      const outputs = name.startsWith("onnx") ? {} : { outputs: new Set(["o", "lse"]) };
      const report = verifyFile(file, name, backend, outputs);
      expect(report, name).toMatchObject({ ok: true });
      expect(Object.keys(report.outputs).length, name).toBeGreaterThan(0);
      if (report.path !== "wasm") elsewhere.push(name);
    }
    expect(elsewhere).toEqual(ORACLE);
    runtime.close();
  });
});
