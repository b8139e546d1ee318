/** flashtile generate --precision: text, plan, bounds and refusals. */
import { describe, expect, it } from "vitest";
import { run } from "../src/cli/program.ts";
import { parseCalibration } from "../src/calibrate/calibration.ts";

async function generate(precision: string, options: string[] = []) {
  const output = { stdout: "", stderr: "" };
  const argv = ["generate", "--prompt", "The white whale swam", "--tokens", "24", "--temperature", "0"];
  const code = await run([...argv, "--precision", precision, ...options], {
    stdout: { write: (text) => void (output.stdout += text) },
    stderr: { write: (text) => void (output.stderr += text) },
  });
  return { code, ...output };
}

async function json(precision: string, options: string[] = []) {
  const { code, stdout, stderr } = await generate(precision, [...options, "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout);
}

const exact = await json("float32");

describe("generate --precision", () => {
  it.each(["int12", "int8"])(
    "%s writes the greedy text of float32, errors within its own bound",
    async (name) => {
      const report = await json(name);
      expect(report.text).toBe(exact.text);
      expect(report.precision).toEqual(Array(4).fill(name));
      expect(report.decodePrecision).toBe("float32");
      expect(report.kernels).toEqual(expect.arrayContaining(["forward_i16", "decode_f32"]));
      expect(report.kernels).not.toContain("forward_f32");
      expect(report.attentionErrorRatio).toBeGreaterThan(0);
      expect(report.attentionErrorRatio).toBeLessThanOrEqual(1);
      expect(report.maxAttentionError).toBeGreaterThan(10 * exact.maxAttentionError);
      expect(report).not.toHaveProperty("calibration");
    },
  );

  it("is float32 unless told", () => {
    expect(exact.precision).toEqual(Array(4).fill("float32"));
    expect(exact.kernels).not.toContain("forward_i16");
  });

  it("auto calibrates on the prompt; its JSON is a plan", async () => {
    const report = await json("auto");
    expect(report.precision).toEqual(Array(4).fill("int8"));
    const calibration = parseCalibration(JSON.stringify(report.calibration));
    expect(calibration).toMatchObject({ rule: "threshold", metric: "cosine", threshold: 0.998 });
    expect(calibration.layers.length).toBe(4);
    expect(report.text).toBe((await json("int8")).text);

    const layers = calibration.layers.map((entry) =>
      entry.layer === 2 ? { ...entry, precision: "int12" } : entry
    );
    const planned = await json(JSON.stringify({ ...calibration, layers }));
    expect(planned.precision).toEqual(["int8", "int8", "int12", "int8"]);
    expect(planned.calibration.layers[2].precision).toBe("int12");
  });

  it("prints the plan", async () => {
    const { code, stdout } = await generate("auto");
    expect(code).toBe(0);
    expect(stdout).toMatch(/precision +│ int8 in all layers, for the prompt; float32 a token at a time/);
    expect(stdout).toMatch(/layer 3: int8 \(cosine: int8 99\.\d+ %, int12 (100|99)\.\d+ %\)/);
    const mixed = await generate('["int8","float32","int12","int8"]');
    expect(mixed.stdout).toMatch(/int8 in layers 0, 3; float32 in layer 1; int12 in layer 2/);
    expect((await generate("float32")).stdout).not.toContain("│ precision");
  });

  it("takes a record, and on the oracle what the kernels lack", async () => {
    const record = '{"qk":"int4","smoothQ":false,"granularity":"token","rounding":"half-even","pv":"int8",' +
      '"pScale":"tile","vScale":"tile"}';
    expect((await json(record)).precision[0]).toContain('"qk":"int4"');
    const oracle = await json("sage2", ["--backend", "reference"]);
    expect(oracle.precision).toEqual(Array(4).fill("sage2"));
    expect(oracle.decodePrecision).toBe("float64");
    expect(oracle.attentionErrorRatio).toBeLessThanOrEqual(1);
  });

  const list = '["int8"]';
  it.each([
    ["int13", /--precision.* expected "float32", "int12", .* got "int13" \(or auto\)$/],
    ["sage2", /--precision\.granularity\.q "thread": not available in the kernels; /],
    [list, /--precision: expected one for each of 4 layers, got 1$/],
    ['["int8","int8","int8","fast"]', /--precision.* got "fast"$/],
    ['{"layers":[]}', /--precision.* version: expected 1, got none$/],
    [
      '{"version":1,"rule":"threshold","layers":[{"layer":4,"precision":"int8","measured":[]}]}',
      /got layer 4$/,
    ],
    ["{", /--precision/],
    ["[1]", /--precision/],
  ])("refuses %s with exit code 2 and one line", async (precision, message) => {
    const { code, stdout, stderr } = await generate(precision);
    expect(stderr).toMatch(/^flashtile: [^\n]+\n$/);
    expect(stderr.trimEnd()).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });
});
