/** The command line in-process, with captured streams, and once as the bundled executable. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { run } from "../src/cli/program.ts";
import { readSafetensors, writeSafetensors } from "../src/io/safetensors.ts";
import type { FileTensor } from "../src/io/tensor.ts";
import { hasRelaxedSimd } from "../src/wasm/detect.ts";

const GOLDEN = new URL("./vectors/golden/", import.meta.url).pathname;
const VECTORS = new URL("./vectors/", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "flashtile-cli-"));

afterAll(() => rmSync(folder, { recursive: true }));

async function flashtile(...argv: string[]) {
  const io = { stdout: "", stderr: "" };
  const code = await run(argv, {
    stdout: { write: (text: string) => io.stdout += text },
    stderr: { write: (text: string) => io.stderr += text },
  });
  return { code, ...io };
}

const golden = (name: string) => join(GOLDEN, `${name}.safetensors`);
const temporary = (name: string) => join(folder, name);

interface Content {
  metadata: Record<string, string>;
  tensors: Map<string, FileTensor>;
}

/** A golden case with something changed, as a new file. */
function changed(name: string, to: string, change: (content: Content) => void): string {
  const { metadata, tensors } = readSafetensors(readFileSync(golden(name)));
  const content = { metadata: { ...metadata }, tensors };
  change(content);
  const path = temporary(to);
  writeFileSync(path, writeSafetensors(content));
  return path;
}

describe("flashtile", () => {
  it("helps, and knows its version", async () => {
    const { code, stdout } = await flashtile("--help");
    expect(code).toBe(0);
    for (const command of ["verify", "run", "generate", "diff", "cases"]) {
      expect(stdout).toContain(`  ${command}`);
    }
    const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
    expect(await flashtile("--version")).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
    for (const command of ["verify", "run", "diff", "cases"]) {
      expect((await flashtile(command, "--help")).stdout).toContain(`flashtile ${command} [options]`);
    }
  });

  it.each([
    [["frobnicate"]],
    [["verify"]],
    [["verify", "--backend", "gpu", GOLDEN]],
    [["verify", "--outputs", "o,x", GOLDEN]],
    [["verify", "--threads", "0", GOLDEN]],
    [["verify", "--precision", "int3", GOLDEN]],
    [["run", golden("d32_f32")]],
    [["diff", "a", "b"]],
    [["cases", "--out", folder, "--seed", "-1"]],
    [["cases", "--out", folder, "--count", "many"]],
  ])("%j is refused in one line with code 2", async (argv) => {
    const { code, stdout, stderr } = await flashtile(...argv);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^flashtile: [^\n]+\n$/);
  });
});

describe("flashtile verify", () => {
  it("passes all vectors on the deterministic kernels, o and lse", async () => {
    const { code, stdout, stderr } = await flashtile("verify", VECTORS, "--outputs", "o,lse");
    const lines = stdout.trimEnd().split("\n");
    expect(lines.filter((line) => !line.startsWith("ok "))).toEqual(["252 passed, 0 failed"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it("passes all vectors on the oracle, every output", async () => {
    const { code, stdout } = await flashtile("verify", VECTORS, "--backend", "reference");
    const lines = stdout.trimEnd().split("\n");
    expect(lines.filter((line) => !line.startsWith("ok "))).toEqual(["252 passed, 0 failed"]);
    expect(code).toBe(0);
  });

  it.skipIf(!hasRelaxedSimd())("passes the golden cases on the relaxed kernels", async () => {
    const { code, stdout } = await flashtile("verify", GOLDEN, "--backend", "relaxed", "--outputs", "o,lse");
    expect(stdout).toContain("147 passed, 0 failed");
    expect(code).toBe(0);
  });

  it.skipIf(hasRelaxedSimd())("says what the relaxed kernels need", async () => {
    const { code, stderr } = await flashtile("verify", GOLDEN, "--backend", "relaxed");
    expect(code).toBe(2);
    expect(stderr).toMatch(/^flashtile: this engine has no WebAssembly relaxed SIMD;[^\n]*\n$/);
  });

  it("--json says for each output how far off it is, and which code ran", async () => {
    const { code, stdout } = await flashtile(
      "verify",
      golden("gqa8_2_f32__full"),
      "--outputs",
      "o,lse",
      "--json",
    );
    const { cases, passed, failed } = JSON.parse(stdout);
    expect({ code, passed, failed }).toEqual({ code: 0, passed: 1, failed: 0 });
    expect(cases[0]).toMatchObject({ name: "gqa8_2_f32__full", path: "wasm", ok: true });
    expect(Object.keys(cases[0].outputs)).toEqual(["o", "lse"]);
    const { maxAbs, maxUlp, bound, ratio, at, ok } = cases[0].outputs.o;
    expect(ok).toBe(true);
    expect(maxAbs).toBeGreaterThan(0);
    expect(maxAbs).toBeLessThan(1e-6);
    expect(maxUlp).toBeGreaterThan(0);
    expect(bound).toBeLessThan(1e-4);
    expect(ratio).toBeGreaterThan(0.001);
    expect(at).toHaveLength(4);
    const oracle = await flashtile("verify", golden("gqa8_2_f32__full"), "--backend", "reference", "--json");
    expect(JSON.parse(oracle.stdout).cases[0].path).toBe("reference");
  });

  it("spells infinities in JSON", async () => {
    const path = changed("d32_f32", "inf.safetensors", ({ tensors }) => {
      const lse = tensors.get("lse")!;
      lse.data = (lse.data as Float64Array).with(3, -Infinity);
    });
    const { code, stdout } = await flashtile("verify", path, "--outputs", "lse", "--json");
    expect(code).toBe(1);
    const [{ outputs }] = JSON.parse(stdout).cases;
    expect(outputs.lse).toMatchObject({
      maxAbs: "inf",
      ratio: "inf",
      expected: "-inf",
      at: [0, 0, 3],
      ok: false,
    });
  });

  it("one line says which output is wrong, where, by how much", async () => {
    const path = changed("d32_f32", "wrong.safetensors", ({ tensors }) => {
      const o = tensors.get("o")!;
      o.data = (o.data as Float64Array).with(32 * 5 + 7, 0.5);
    });
    const { code, stdout } = await flashtile("verify", path, golden("d1_odd_f32"), "--outputs", "o,lse");
    expect(code).toBe(1);
    const number = "-?\\d+(\\.\\d+)?(e[+-]\\d+)?";
    expect(stdout).toMatch(
      new RegExp(
        `^FAIL wrong o ${number}/${number} at \\[0,0,5,7\\] expected 0.5 got ${number}\nok d1_odd_f32\n1 passed, 1 failed\n$`,
      ),
    );
  });

  it("an unknown option or tensor fails the case by name", async () => {
    const option = changed("d32_f32", "option.safetensors", ({ metadata }) => {
      metadata.attention = JSON.stringify({ ...JSON.parse(metadata.attention), sparsity: 2, x_note: 1 });
    });
    const extra = changed("d32_f32", "tensor.safetensors", ({ tensors }) => {
      tensors.set("mistery", tensors.get("q")!);
    });
    const { code, stdout } = await flashtile("verify", option, extra);
    expect(stdout).toBe(
      "FAIL option sparsity: unknown option\nFAIL tensor mistery: unknown tensor\n0 passed, 2 failed\n",
    );
    expect(code).toBe(1);
  });

  it("what the kernels don't have is a failure that names it, never a skip", async () => {
    const path = changed("d32_f32", "dropout.safetensors", ({ metadata }) => {
      metadata.attention = JSON.stringify({
        ...JSON.parse(metadata.attention),
        dropout: { p: 0.5, seed: 1 },
      });
    });
    const { code, stdout } = await flashtile("verify", path, "--outputs", "o");
    expect(stdout).toMatch(/^FAIL dropout (dropout: not available|o [\d.e+-]+\/)/);
    expect(code).toBe(1);
  });

  it("--precision: quantised outputs within their own bounds, and what has no such precision fails by name", async () => {
    const names = ["d64_f16", "gqa8_2_f32__full", "s65x63_f32__causal_tl", "bool_f32__per_head"].map(golden);
    const forward = ["--precision", "int8", "--backend", "reference"];
    const { code, stdout } = await flashtile("verify", ...names, ...forward, "--outputs", "o,lse");
    expect(stdout).toContain("4 passed, 0 failed");
    expect(code).toBe(0);
    const plain = await flashtile("verify", names[0], "--backend", "reference", "--outputs", "o", "--json");
    const coarse = await flashtile("verify", names[0], ...forward, "--outputs", "o", "--json");
    const [exact, rough] = [plain, coarse].map(({ stdout }) => JSON.parse(stdout).cases[0].outputs.o);
    expect(rough.maxAbs).toBeGreaterThan(1e4 * exact.maxAbs);
    expect(rough.bound).toBeGreaterThan(1e4 * exact.bound);
    // The kernels have int12 and int8; what tensor cores do is the oracle's.
    for (const [precision, path] of [["int12", "wasm"], ["sage2", "reference"]]) {
      const run = await flashtile(
        "verify",
        ...names,
        "--precision",
        precision,
        "--outputs",
        "o,lse",
        "--json",
      );
      expect(JSON.parse(run.stdout).cases.map((one: { path: string; ok: boolean }) => [one.path, one.ok]))
        .toEqual(names.map(() => [path, true]));
    }
    // Y is the oracle's there, the weights beside it are the kernels', who have no such precision.
    const weights =
      "tests/vectors/onnx/test_attention_24_qk_matmul_output_mode3_softmax_precision.safetensors";
    expect((await flashtile("verify", weights, "--precision", "sage2")).stdout).toMatch(
      /^1 passed, 0 failed$/m,
    );
    const asked = await flashtile("verify", names[0], ...forward, "--json");
    expect(Object.keys(JSON.parse(asked.stdout).cases[0].outputs)).toEqual(["o", "lse"]);
    const gradients = await flashtile("verify", names[0], ...forward, "--outputs", "o,dq");
    expect(gradients.stdout).toMatch(/^FAIL d64_f16 precision: /);
    expect(gradients.code).toBe(1);
  });

  it("says where none of the outputs asked for is in the file", async () => {
    const { code, stdout } = await flashtile("verify", golden("d32_f32"), "--outputs", "dsink");
    expect(stdout).toBe("ok d32_f32 (none of the outputs asked for)\n1 passed, 0 failed\n");
    expect(code).toBe(0);
  });

  describe("unusable input: one line that names file and field, code 2, and the rest is verified", () => {
    const bytes = readFileSync(golden("d32_f32"));
    const broken = (name: string, content: Uint8Array) => {
      writeFileSync(temporary(name), content);
      return temporary(name);
    };

    it.each<[string, () => string, RegExp]>([
      [
        "a missing file",
        () => temporary("nowhere.safetensors"),
        /nowhere\.safetensors: no such file or folder/,
      ],
      ["a missing folder", () => temporary("nowhere"), /nowhere: no such file or folder/],
      ["a folder without cases", () => {
        mkdirSync(temporary("empty"), { recursive: true });
        return temporary("empty");
      }, /empty: expected files \*\.safetensors, got none/],
      [
        "a truncated file",
        () => broken("short.safetensors", bytes.subarray(0, bytes.length - 9)),
        /short\.safetensors: tensors\.\w+\.data_offsets: expected end ≤ \d+, got \d+/,
      ],
      ["a header that claims 2^60 bytes", () => {
        const file = Uint8Array.from(bytes);
        new DataView(file.buffer).setBigUint64(0, 1n << 60n, true);
        return broken("header.safetensors", file);
      }, /header\.safetensors: header length: expected ≤ \d+, got 1152921504606846976/],
      [
        "an empty file",
        () => broken("nothing.safetensors", new Uint8Array(0)),
        /nothing\.safetensors: header length: expected 8 bytes, got 0/,
      ],
      [
        "no options",
        () => changed("d32_f32", "bare.safetensors", ({ metadata }) => delete metadata.attention),
        /bare\.safetensors: __metadata__\.attention: expected JSON, got none/,
      ],
      ["K of another width", () =>
        changed("d32_f32", "width.safetensors", ({ tensors }) => {
          tensors.set("k", { dtype: "float32", shape: [1, 1, 29, 8], data: new Float32Array(232) });
        }), /width\.safetensors: k: expected \[B,G,M,D\] with B=1, D=32, got \[1,1,29,8\]/],
      ["an option of the wrong kind", () =>
        changed("d32_f32", "kind.safetensors", ({ metadata }) => {
          metadata.attention = '{"causal": "yes"}';
        }), /kind\.safetensors: causal: expected false, true, got "yes"/],
      ["nothing expected", () =>
        changed("d32_f32", "inputs.safetensors", ({ tensors }) => {
          for (const name of ["o", "lse", "dq", "dk", "dv"]) tensors.delete(name);
        }), /inputs\.safetensors: o: expected at least one of o, lse, dq/],
    ])("%s", async (_, make, message) => {
      const { code, stdout, stderr } = await flashtile(
        "verify",
        make(),
        golden("d1_odd_f32"),
        "--outputs",
        "o",
      );
      expect(stdout).toBe("ok d1_odd_f32\n1 passed, 0 failed\n");
      expect(stderr).toMatch(/^flashtile: [^\n]+\n$/);
      expect(stderr).toMatch(message);
      expect(code).toBe(2);
    });

    it("--json lists it", async () => {
      const { code, stdout } = await flashtile("verify", temporary("nowhere"), "--json");
      expect(code).toBe(2);
      expect(JSON.parse(stdout)).toEqual({
        ...{ cases: [], passed: 0, failed: 0 },
        unusable: [{ name: temporary("nowhere"), error: `${temporary("nowhere")}: no such file or folder` }],
      });
    });
  });
});

describe("flashtile run and diff", () => {
  const [ours, exact] = [temporary("ours.out"), temporary("exact.out")];

  beforeAll(async () => {
    await flashtile("run", golden("softcap_f32__c30"), "--out", ours);
    await flashtile("run", golden("softcap_f32__c30"), "--out", exact, "--backend", "reference");
  });

  it("run writes o, lse and the gradients", () => {
    const { metadata, tensors } = readSafetensors(readFileSync(exact));
    expect([...tensors.keys()]).toEqual(["o", "lse", "dq", "dk", "dv"]);
    expect(metadata).toMatchObject({ x_backend: "reference", x_path: "reference" });
    expect(tensors.get("o")).toMatchObject({ dtype: "float64", shape: [1, 2, 24, 64] });
    const kernels = readSafetensors(readFileSync(ours));
    expect([...kernels.tensors.keys()].slice(0, 2)).toEqual(["o", "lse"]);
    expect(kernels.metadata).toMatchObject({ x_backend: "deterministic", x_path: "wasm" });
    expect(kernels.tensors.get("lse")).toMatchObject({ dtype: "float32", shape: [1, 2, 24] });
  });

  it("run names the file and the field that are wrong, and where it cannot write", async () => {
    const path = changed("d32_f32", "shape.safetensors", ({ tensors }) => {
      tensors.set("v", { dtype: "float32", shape: [1, 1, 3, 8], data: new Float32Array(24) });
    });
    const refused = await flashtile("run", path, "--out", temporary("never"));
    expect(refused).toMatchObject({ code: 2, stdout: "" });
    expect(refused.stderr).toMatch(/^flashtile: [^\n]*shape\.safetensors: v: expected [^\n]*\n$/);
    const nowhere = await flashtile("run", golden("d32_f32"), "--out", join(folder, "no", "such", "folder"));
    expect(nowhere.code).toBe(2);
    expect(nowhere.stderr).toMatch(/folder: no such file or folder\n$/);
  });

  it("diff of two right results: code 0", async () => {
    const { code, stdout } = await flashtile("diff", ours, exact, "--case", golden("softcap_f32__c30"));
    expect(stdout).toContain("A agrees with the oracle.\nB agrees with the oracle.\nA and B agree");
    expect(code).toBe(0);
  });

  it("diff finds the worst element, the rows and the reason", async () => {
    const wrong = temporary("wrong.out");
    const uncapped = changed("softcap_f32__c30", "uncapped.safetensors", ({ metadata }) => {
      metadata.attention = JSON.stringify({ ...JSON.parse(metadata.attention), softcap: 0 });
    });
    await flashtile("run", uncapped, "--out", wrong, "--backend", "reference");
    const { code, stdout } = await flashtile("diff", wrong, ours, "--case", golden("softcap_f32__c30"));
    expect(code).toBe(1);
    expect(stdout).toContain("A is wrong in o, lse, as if: the softcap is missing.");
    expect(stdout).toContain("B agrees with the oracle.");
    expect(stdout).toMatch(
      /o: beyond the bound in 2 of 2 heads\n {2}\[0,[01]\] {2}\d+ of 1536 elements, up to .* rows 0–/,
    );
    const json = await flashtile("diff", wrong, ours, "--case", golden("softcap_f32__c30"), "--json");
    expect(JSON.parse(json.stdout)).toMatchObject({
      ok: false,
      reasons: { a: ["the softcap is missing"], b: [] },
    });
  });

  it("diff refuses what holds no results", async () => {
    const { code, stderr } = await flashtile(
      "diff",
      golden("d32_f32"),
      join(VECTORS, "nothing"),
      "--case",
      golden("d32_f32"),
    );
    expect(code).toBe(2);
    expect(stderr).toMatch(/nothing: no such file or folder\n$/);
  });
});

describe("flashtile cases", () => {
  it("writes cases that verify, the same bytes each time", async () => {
    const [one, two] = [temporary("one"), temporary("two")];
    expect(await flashtile("cases", "--out", one, "--count", "25", "--seed", "3")).toMatchObject({
      code: 0,
      stderr: "",
    });
    await flashtile("cases", "--out", two, "--count", "25", "--seed", "3");
    const names = readdirSync(one);
    expect(names).toHaveLength(25);
    for (const name of names) {
      expect(Buffer.compare(readFileSync(join(one, name)), readFileSync(join(two, name))), name).toBe(0);
    }
    expect((await flashtile("verify", one, "--backend", "reference")).stdout).toContain(
      "25 passed, 0 failed",
    );
  });

  it("names a folder that it cannot make", async () => {
    const { code, stderr } = await flashtile("cases", "--out", join(golden("d32_f32"), "x"));
    expect(code).toBe(2);
    expect(stderr).toMatch(/^flashtile: [^\n]*: expected a folder, got a file\n$/);
  });
});

describe("the bundled executable", () => {
  const root = new URL("..", import.meta.url).pathname;
  const cli = temporary("cli.mjs");

  beforeAll(() => {
    execFileSync(join(root, "node_modules/.bin/esbuild"), [
      ...[
        "src/cli/main.ts",
        "--bundle",
        "--platform=node",
        "--format=esm",
        "--target=node20",
        `--outfile=${cli}`,
      ],
      '--banner:js=import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
      "--log-level=error",
    ], { cwd: root });
  });

  it("verifies, and ends with the code", () => {
    const good = spawnSync(process.execPath, [cli, "verify", golden("d32_f32"), "--outputs", "o"], {
      encoding: "utf8",
    });
    expect(good).toMatchObject({ status: 0, stdout: "ok d32_f32\n1 passed, 0 failed\n", stderr: "" });
    const bad = spawnSync(process.execPath, [cli, "verify", "nowhere"], { encoding: "utf8" });
    expect(bad).toMatchObject({ status: 2, stderr: "flashtile: nowhere: no such file or folder\n" });
  });

  it("starts in a moment: --version within 5 times an empty script", () => {
    const time = (...argv: string[]) => {
      const times = Array.from({ length: 5 }, () => {
        const start = performance.now();
        spawnSync(process.execPath, argv);
        return performance.now() - start;
      });
      return Math.min(...times);
    };
    expect(time(cli, "--version")).toBeLessThan(5 * time("-e", ""));
  });
});
