/** flashtile generate: what it prints, and its one-line errors with exit code 2. */
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { run } from "../src/cli/program.ts";
import { readSafetensors, writeSafetensors } from "../src/io/safetensors.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";

const shipped = new URL("../models/moby/", import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), "flashtile-"));
afterAll(() => rmSync(scratch, { recursive: true }));

async function generate(options: string[], stdin: Uint8Array[] = []) {
  const output = { stdout: "", stderr: "" };
  const code = await run(["generate", ...options], {
    stdout: { write: (text) => void (output.stdout += text) },
    stderr: { write: (text) => void (output.stderr += text) },
    stdin: (async function* () {
      yield* stdin;
    })(),
  });
  return { code, ...output };
}

const json = async (options: string[], stdin?: Uint8Array[]) => {
  const { code, stdout, stderr } = await generate([...options, "--json"], stdin);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout);
};

/** A copy of the shipped model, to be broken. */
function copy(name: string): string {
  const folder = join(scratch, name);
  for (const file of ["config.json", "model.safetensors"]) cpSync(join(shipped, file), join(folder, file));
  return folder;
}

function configured(name: string, fields: Record<string, unknown>): string {
  const folder = copy(name);
  const path = join(folder, "config.json");
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...fields }));
  return folder;
}

describe("generate", () => {
  it("streams the text, then prints a table", async () => {
    const { code, stdout, stderr } = await generate(["--prompt", "Call me ", "--tokens", "12"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^Call me [^]{12}\n\n┌/);
    for (const row of ["back end", "prefill", "decode", "KV cache", "attention error", "of its bound"]) {
      expect(stdout).toContain(`│ ${row} `);
    }
    expect(stdout).toMatch(/prefill +│ 8 tokens, [\d,]+ tokens\/s/);
    expect(stdout).toMatch(/decode +│ 12 tokens, [\d,]+ tokens\/s/);
  });

  it("prints one JSON object with --json", async () => {
    const report = await json(["--prompt", "The white whale", "--tokens", "20", "--temperature", "0"]);
    expect(report).toMatchObject({ tokens: 20, promptTokens: 15, backend: "deterministic" });
    expect(report.text.length).toBe(20);
    // 4 layers × (k and v) × 34 tokens × 128 floats
    expect(report.kvBytes).toBe(4 * 2 * 34 * 128 * 4);
    expect(report.prefillTokensPerSecond).toBeGreaterThan(0);
    expect(report.decodeTokensPerSecond).toBeGreaterThan(0);
    expect(report.maxAttentionError).toBeGreaterThan(0);
    expect(report.maxAttentionError).toBeLessThanOrEqual(report.attentionErrorBound);
    expect(report.attentionErrorRatio).toBeLessThanOrEqual(1);
    expect(report.kernels).toEqual(expect.arrayContaining(["forward_f32", "decode_f32", "linear_f32"]));
  });

  it("writes the same greedy text on every back end", async () => {
    const options = ["--prompt", "Fellow citizens", "--tokens", "40", "--temperature", "0"];
    const exact = await json([...options, "--backend", "reference"]);
    expect(exact.maxAttentionError).toBeGreaterThan(0);
    expect(exact.maxAttentionError).toBeLessThan(1e-12);
    expect(exact.attentionErrorRatio).toBeLessThanOrEqual(1);
    expect((await json([...options, "--backend", "deterministic"])).text).toBe(exact.text);
    if (!hasRelaxedSimd()) return;
    expect((await json([...options, "--backend", "relaxed"])).text).toBe(exact.text);
  });

  it("writes by temperature, topK and seed", async () => {
    const text = async (...options: string[]) =>
      (await json(["--prompt", "The ", "--tokens", "24", ...options])).text as string;
    const drawn = await text("--temperature", "1.5", "--seed", "3");
    expect(await text("--temperature", "1.5", "--seed", "3")).toBe(drawn);
    expect(await text("--temperature", "1.5", "--seed", "4")).not.toBe(drawn);
    expect(await text("--temperature", "1.5", "--top-k", "1")).toBe(await text("--temperature", "0"));
    expect(await text("--temperature", "1.5", "--seed", "-3")).not.toBe(drawn);
  });

  it("reads the prompt from standard input, in pieces, and from the held-out text", async () => {
    const whale = new TextEncoder().encode("🐋 Whale");
    const piped = await json(["--prompt", "-", "--tokens", "8"], [whale.subarray(0, 2), whale.subarray(2)]);
    expect(piped.promptTokens).toBe(10);
    expect(piped.text).toBe((await json(["--prompt", "🐋 Whale", "--tokens", "8"])).text);
    const folder = copy("held");
    writeFileSync(join(folder, "heldout-1.txt"), "a—b");
    const held = (bytes: string) => json(["--model", folder, "--held-out", bytes, "--tokens", "4"]);
    expect((await held("3")).promptTokens).toBe(1);
    expect((await held("4")).text).toBe((await json(["--prompt", "a—", "--tokens", "4"])).text);
    expect((await held("99")).promptTokens).toBe(5);
  });

  it("takes the shipped model unless told", async () => {
    const options = ["--prompt", "A", "--tokens", "5"];
    expect((await json([...options, "--model", shipped])).text).toBe((await json(options)).text);
  });
});

describe("generate refuses, with exit code 2 and one line,", () => {
  const config =
    (name: string, fields: Record<string, unknown>) => () => ["--model", configured(name, fields)];
  const truncated = () => {
    const folder = copy("truncated");
    truncateSync(join(folder, "model.safetensors"), 100_000);
    return ["--model", folder];
  };
  const reshaped = () => {
    const folder = copy("reshaped");
    const path = join(folder, "model.safetensors");
    const { tensors } = readSafetensors(readFileSync(path));
    tensors.get("model.layers.2.mlp.up_proj.weight")!.shape.reverse();
    writeFileSync(path, writeSafetensors({ tensors }));
    return ["--model", folder];
  };
  const refusals: [what: string, options: () => string[], message: RegExp][] = [
    ["a missing folder", () => ["--model", join(scratch, "none")], /none\/config\.json: no such file/],
    ["a folder without weights", () => {
      const folder = copy("weightless");
      rmSync(join(folder, "model.safetensors"));
      return ["--model", folder];
    }, /weightless\/model\.safetensors: no such file/],
    ["a file for a folder", () => ["--model", join(shipped, "config.json")], /config\.json\/config\.json: /],
    [
      "another vocabulary",
      config("vocabulary", { vocab_size: 32000 }),
      /config\.json: vocab_size: expected 256, got 32000$/,
    ],
    [
      "another architecture",
      config("gpt2", { model_type: "gpt2" }),
      /config\.json: model_type: expected "llama", got "gpt2"$/,
    ],
    [
      "a truncated file",
      truncated,
      /truncated\/model\.safetensors: tensors\.[\w.]+\.data_offsets: expected /,
    ],
    [
      "a tensor of another shape",
      reshaped,
      /reshaped\/model\.safetensors: tensors\.model\.layers\.2\.mlp\.up_proj\.weight\.shape: expected \[512, 192\], got \[192, 512\]$/,
    ],
    [
      "a prompt beyond the context",
      () => ["--held-out", "1500"],
      /prompt: expected at most 1024 bytes .* got 1[45]\d\d$/,
    ],
    ["more tokens than the context", () => ["--tokens", "2000"], /tokens: expected at most 933 .* got 2000$/],
    ["no prompt", () => ["--prompt", ""], /prompt: expected at least one byte, got none$/],
    ["no tokens", () => ["--tokens", "0"], /--tokens.* expected an integer ≥ 1, got "0"$/],
    [
      "a negative temperature",
      () => ["--temperature=-1"],
      /--temperature.* expected a number ≥ 0, got "-1"$/,
    ],
    [
      "another back end",
      () => ["--backend", "gpu"],
      /--backend.* Allowed choices are reference, deterministic, relaxed/,
    ],
    ["two prompts", () => ["--prompt", "a", "--held-out", "9"], /cannot be used with/],
    [
      "held-out text that is not there",
      () => ["--held-out", "9", "--model", copy("bare")],
      /bare: expected a file heldout\*\.txt, got none$/,
    ],
  ];
  it.each(refusals)("%s", async (_, options, message) => {
    const { code, stdout, stderr } = await generate(options());
    expect(stderr).toMatch(/^flashtile: [^\n]+\n$/);
    expect(stderr.trimEnd()).toMatch(message);
    expect(code).toBe(2);
    expect(stdout).toBe("");
  });
});
