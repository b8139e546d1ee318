/** Case files, error bounds and comparison. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readSafetensors, writeSafetensors } from "../src/io/safetensors.ts";
import type { FileTensor } from "../src/io/tensor.ts";
import type { AttentionOptions } from "../src/options.ts";
import { createBackwardProblem } from "../src/gradients.ts";
import { createProblem } from "../src/problem.ts";
import { attention } from "../src/reference/attention.ts";
import { backward } from "../src/reference/backward.ts";
import type { Tensor } from "../src/tensor.ts";
import { FLOAT32, FLOAT64 } from "../src/verify/arithmetic.ts";
import { forwardBounds } from "../src/verify/bounds.ts";
import { type Case, CaseFailure, caseOf, type OutputName, OUTPUTS, readCase } from "../src/verify/case.ts";
import { seededCase } from "../src/verify/caseset.ts";
import { type Backend, boundsOf, checkCase, computeCase } from "../src/verify/check.ts";
import { compare } from "../src/verify/compare.ts";
import { diffResults } from "../src/verify/diff.ts";
import { gradientBounds } from "../src/verify/gradients.ts";
import { oracle } from "../src/verify/oracle.ts";
import { DotNodes, Run } from "../src/verify/sums.ts";
import { writeCase } from "../src/verify/writecase.ts";
import { attendRow, hostile, nearest, type Row } from "./support/float32attention.ts";
import { backwardHead } from "./support/float32backward.ts";
import { normal } from "./support/tensors.ts";

const GOLDEN = new URL("./vectors/golden/", import.meta.url);
const ALL = new Set<string>(OUTPUTS);

function golden(name: string): Case {
  return readCase(readFileSync(new URL(`${name}.safetensors`, GOLDEN)), name);
}

describe("golden cases", () => {
  const names = readdirSync(GOLDEN).filter((name) => name.endsWith(".safetensors"));

  it("there are 147", () => expect(names.length).toBe(147));

  it.each(names)("%s: every output of the oracle", (file) => {
    const report = checkCase(golden(file.replace(".safetensors", "")), oracle, ALL);
    expect(report).toMatchObject({ ok: true, path: "reference" });
    expect(Object.keys(report.outputs)).toEqual(expect.arrayContaining(["o", "lse"]));
  });
});

/** A tensor as case files hold it. */
function tensor(values: ArrayLike<number>, shape: number[]): FileTensor {
  return { data: Float32Array.from(values), shape, dtype: "float32" };
}

function gaussian(seed: number, [B, H, G, N, M, D]: number[], options: AttentionOptions = {}): Case {
  const make = (shape: number[], n: number) => tensor(normal(seed * 10 + n, shape).data, shape);
  const bare: Case = {
    ...{ name: `gaussian${seed}`, dout: null, dlse: null, expected: new Map() },
    ...{ q: make([B, H, N, D], 0), k: make([B, G, M, D], 1), v: make([B, G, M, D], 2) },
    options: { semantics: { lseIncludesSink: false }, ...options },
  };
  return expecting(bare, computeCase(bare, oracle).tensors);
}

function expecting(content: Case, results: ReadonlyMap<OutputName, Tensor>): Case {
  const expected = new Map([...results].map(([name, t]): [OutputName, FileTensor] => [name, fileTensor(t)]));
  return { ...content, expected };
}

function fileTensor({ data, shape, dtype }: Tensor): FileTensor {
  return { data, shape: [...shape], dtype };
}

/** A float32 implementation that is as good as rounding the exact results, after `wrong` has had its way. */
function rounded(wrong: (content: AttentionOptions) => AttentionOptions = (options) => options): Backend {
  return {
    name: "deterministic",
    forward(q, k, v, options) {
      const { out, lse } = attention(q, k, v, wrong(options));
      const float32 = ({ data, shape }: Tensor) => ({
        ...{ data: Float32Array.from(data as Float64Array), shape, dtype: "float32" as const },
      });
      return { out: float32(out), lse: float32(lse!), path: "wasm" as const };
    },
    backward: () => {
      throw new RangeError("gradients: none");
    },
  };
}

describe("partial sums", () => {
  it("Run finds the largest run that ends at each term", () => {
    const terms = [1, -3, 2, 5, -1, -8];
    const run = new Run();
    for (const term of terms) run.add(term);
    let nodes = 0;
    let largest = 0;
    terms.forEach((_, end) => {
      const sums = terms.slice(0, end + 1).map((_, start) =>
        Math.abs(terms.slice(start, end + 1).reduce((a, b) => a + b, 0))
      );
      nodes += Math.max(...sums);
      largest = Math.max(largest, ...sums);
    });
    expect([run.nodes, run.largest, run.sum]).toEqual([nodes, largest, -4]);
  });

  it("DotNodes covers cancellation that interleaved accumulators undo", () => {
    // One accumulator meets +x −x +x −x …; four of them meet +x +x … and −x −x …
    const a = Float64Array.from({ length: 64 }, (_, d) => d % 2 ? -1 : 1);
    const b = new Float64Array(64).fill(3);
    const dot = new DotNodes();
    dot.read(a, 0, b, 0, 64);
    expect(dot).toMatchObject({ sum: 0, mass: 192 });
    expect(dot.nodes).toBeGreaterThan(3 * 64 * 4);
    dot.read(a, 1, b, 1, 1);
    expect(dot).toMatchObject({ sum: -3, mass: 3, nodes: 0 });
  });
});

describe("bounds", () => {
  /** Rows of a Gaussian problem, with the bounds of O and lse. */
  function* rows(seed: number, M: number, D: number, extra: Partial<Row> & { sigma?: number } = {}) {
    const N = 8;
    const [q, k, v] = [[N, D], [M, D], [M, 3]].map((shape, n) => normal(seed * 10 + n, [1, 1, ...shape]));
    const scaled = { ...q, data: q.data.map((x) => Math.fround(x * (extra.sigma ?? 1))) as Float32Array };
    const bias = extra.bias && { data: Float32Array.from(extra.bias), shape: [1, 1, 1, M] };
    const scale = 1 / Math.sqrt(D);
    const options = {
      scale,
      lse: true,
      ...(extra.softcap && { softcap: extra.softcap }),
      ...(bias && { bias }),
    };
    const problem = createProblem(scaled, k, v, options);
    const bounds = forwardBounds(problem, FLOAT32);
    const exact = attention(scaled, k, v, options);
    for (let i = 0; i < N; i++) {
      const row: Row = {
        ...{ q: scaled.data.subarray(i * D, (i + 1) * D), K: k.data, V: v.data, M, D, E: 3, scale },
        ...(extra.softcap && { softcap: extra.softcap }),
        ...(bias && { bias: bias.data }),
      };
      const o = Array.from(exact.out.data.subarray(i * 3, i * 3 + 3), Number);
      yield {
        row,
        o,
        lse: Number(exact.lse!.data[i]),
        out: bounds.out.subarray(i * 3, i * 3 + 3),
        lseBound: bounds.lse[i],
      };
    }
  }

  const CASES: [string, number, number, (Partial<Row> & { sigma?: number })?][] = [
    ["D 1", 5, 1],
    ["D 16, one tile", 40, 16],
    ["D 64, one tile", 64, 64],
    ["D 64, many tiles", 300, 64],
    ["peaked", 200, 32, { sigma: 20 }],
    ["softcap", 60, 32, { softcap: 5, sigma: 4 }],
    ["large bias", 60, 16, { bias: Array.from({ length: 60 }, (_, j) => 1000 + j % 7) }],
    ["rising bias: every tile rescales", 400, 16, { bias: Array.from({ length: 400 }, (_, j) => j / 4) }],
  ];

  it.each(CASES)("%s: hold for float32", (_, M, D, extra) => {
    for (let seed = 0; seed < 3; seed++) {
      for (const { row, o, lse, out, lseBound } of rows(seed, M, D, extra)) {
        const got = attendRow(row, nearest, new Float64Array(M));
        got.out.forEach((x, e) => expect(Math.abs(x - o[e])).toBeLessThanOrEqual(out[e]));
        expect(Math.abs(got.lse - lse)).toBeLessThanOrEqual(lseBound);
      }
    }
  });

  it.each(CASES)("%s: hold where every rounding hurts, and are nearly reached", (_, M, D, extra) => {
    let worst = 0;
    let worstLse = 0;
    for (const { row, o, lse, out, lseBound } of rows(7, M, D, extra)) {
      for (let e = 0; e < 3; e++) {
        const push = Float64Array.from({ length: M }, (_, j) => Math.sign(row.V[j * 3 + e] - o[e]) || 1);
        const got = attendRow(row, hostile, push).out[e];
        worst = Math.max(worst, Math.abs(got - o[e]) / out[e]);
      }
      const got = attendRow(row, (x, up) => hostile(x, Math.abs(up)), new Float64Array(M).fill(1));
      worstLse = Math.max(worstLse, Math.abs(got.lse - lse) / lseBound);
    }
    expect(worst).toBeLessThanOrEqual(1);
    expect(worst).toBeGreaterThan(0.25);
    expect(worstLse).toBeLessThanOrEqual(1);
    expect(worstLse).toBeGreaterThan(0.25);
  });

  it("are not loose: on Gaussian inputs the worst error of float32 is more than 1/50 of its bound", () => {
    for (const [M, D] of [[33, 16], [64, 64], [256, 64]]) {
      let worst = 0;
      for (const { row, o, out } of [...rows(3, M, D), ...rows(4, M, D)]) {
        const got = attendRow(row, nearest, new Float64Array(M)).out;
        got.forEach((x, e) => worst = Math.max(worst, Math.abs(x - o[e]) / out[e]));
      }
      expect(worst, `M=${M} D=${D}`).toBeGreaterThan(1 / 50);
    }
  });

  it("of float64 are 2^-29 of those of float32", () => {
    const { q, k, v, options } = gaussian(1, [1, 1, 1, 8, 40, 16]);
    const problem = createProblem(q, k, v, options);
    const [wide, narrow] = [forwardBounds(problem, FLOAT64), forwardBounds(problem, FLOAT32)];
    wide.out.forEach((bound, x) => {
      expect(bound * 2 ** 29).toBeGreaterThan(narrow.out[x] / 4);
      expect(bound * 2 ** 29).toBeLessThan(narrow.out[x] * 4);
    });
  });

  it("never exceed the range of V by more than rounding, whatever the scores", () => {
    const { q, k, v } = gaussian(2, [1, 1, 1, 4, 30, 16]);
    const { out, lse } = forwardBounds(createProblem(q, k, v, { scale: 1e6 }), FLOAT32);
    const most = Math.max(...Array.from(v.data as Float32Array, Math.abs));
    for (const bound of out) expect(bound).toBeLessThan(2 * most * 1.0001);
    for (const bound of lse) expect(bound).toBeLessThan(1e3);
  });

  it("of rows without a key are 0", () => {
    const { q, k, v } = gaussian(2, [1, 1, 1, 4, 2, 8]);
    const { out, lse } = forwardBounds(createProblem(q, k, v, { causal: true }), FLOAT32);
    expect(Array.from(out.subarray(0, 16)).every((bound) => bound === 0)).toBe(true);
    expect(lse[0]).toBe(0);
    expect(out[17]).toBeGreaterThan(0);
  });

  it("scale with V by powers of 2", () => {
    const { q, k, v, options } = gaussian(4, [1, 1, 1, 4, 20, 8]);
    const bounds = (V: FileTensor) => forwardBounds(createProblem(q, k, V, options), FLOAT32).out;
    const big = { ...v, data: (v.data as Float32Array).map((x) => x * 1024) };
    bounds(v).forEach((bound, x) => expect(bounds(big)[x] / bound).toBeCloseTo(1024, 6));
  });
});

describe("mistakes that are caught", () => {
  const shape = [1, 4, 2, 64, 64, 64];
  const causal = gaussian(11, shape, { causal: true });
  const plain = gaussian(12, shape);
  const outputs = (content: Case, backend: Backend) => {
    const { outputs } = checkCase(content, backend, new Set(["o", "lse"]));
    return Object.entries(outputs).filter(([, { ok }]) => !ok).map(([name]) => name);
  };

  it("none in a float32 rounding of the exact result", () => {
    expect(outputs(causal, rounded())).toEqual([]);
    expect(outputs(plain, rounded())).toEqual([]);
  });

  it("one key too many, or too few, for each row", () => {
    for (const offset of [1, -1]) {
      expect(outputs(causal, rounded((options) => ({ ...options, align: { offset } })))).toEqual([
        "o",
        "lse",
      ]);
    }
  });

  it("one masked key that leaks into one row", () => {
    const mask = new Uint8Array(64 * 64).fill(1);
    mask.fill(0, 100, 110);
    const masked = (data: Uint8Array) => ({ mask: { data, shape: [1, 1, 64, 64], dtype: "bool" as const } });
    const content = gaussian(12, shape, masked(mask));
    const leaky = mask.slice();
    leaky[105] = 1;
    expect(outputs(content, rounded())).toEqual([]);
    expect(outputs(content, rounded((options) => ({ ...options, ...masked(leaky) })))).toEqual(["o", "lse"]);
  });

  it("a scale that is off by 1e-5", () => {
    expect(outputs(plain, rounded((options) => ({ ...options, scale: 0.125 * 1.00001 })))).toContain("lse");
  });

  it("query heads that read key head h mod G", () => {
    const { k, v } = plain;
    const swap = ({ data, dtype }: FileTensor): FileTensor => {
      const head = 64 * 64;
      const copy = new Float32Array(4 * head);
      for (let h = 0; h < 4; h++) {
        copy.set((data as Float32Array).subarray((h % 2) * head, (h % 2 + 1) * head), h * head);
      }
      return { data: copy, shape: [1, 4, 64, 64], dtype };
    };
    const results = computeCase({ ...plain, k: swap(k), v: swap(v) }, oracle).tensors;
    const wrong = expecting(plain, results);
    expect(outputs(wrong, rounded())).toEqual(["o", "lse"]);
    const { reasons } = diffResults(plain, plain.expected, wrong.expected);
    expect(reasons).toEqual({ a: [], b: ["query head h reads key head h mod G"] });
  });

  it("one element of O off by 1e-5, one lse off by 100 ulp", () => {
    const o = fileTensor(plain.expected.get("o")! as Tensor);
    const lse = fileTensor(plain.expected.get("lse")! as Tensor);
    o.data = (o.data as Float64Array).with(777, Number(o.data[777]) + 1e-5);
    lse.data = (lse.data as Float64Array).with(99, Number(lse.data[99]) + 100 * 2 ** -22);
    const { outputs: found } = checkCase(
      { ...plain, expected: new Map([["o", o], ["lse", lse]]) },
      rounded(),
      ALL,
    );
    expect(found.o).toMatchObject({ ok: false, at: [0, 0, 12, 9] });
    expect(found.lse).toMatchObject({ ok: false, at: [0, 1, 35] });
  });

  it("every golden case with its scale off by 1e-4, where the scores say anything", () => {
    const names = [
      "d64_f16",
      "gqa8_2_f32__full",
      "s113x203_f32__full",
      "softcap_f32__c30",
      "alibi8_20x28_f16__full",
    ];
    for (const name of names) {
      const content = golden(name);
      const scale = content.options.scale! * 1.0001;
      expect(outputs(content, rounded((options) => ({ ...options, scale }))), name).toContain("lse");
    }
  });
});

describe("compare", () => {
  const of = (values: number[]) => ({
    data: Float64Array.from(values),
    shape: [values.length],
    dtype: "float64" as const,
  });
  const check = (e: number, g: number, bound: number) =>
    compare("o", of([e]), of([g]), Float64Array.of(bound));

  it("∞ and NaN must be met exactly", () => {
    expect(check(Infinity, Infinity, 0).ok).toBe(true);
    expect(check(NaN, NaN, 0).ok).toBe(true);
    for (
      const [e, g] of [[Infinity, -Infinity], [Infinity, 1e300], [1, Infinity], [NaN, 1], [1, NaN], [
        Infinity,
        NaN,
      ]]
    ) {
      expect(check(e, g, 1e300), `${e} ${g}`).toMatchObject({ ok: false, ratio: Infinity, at: [0] });
    }
  });

  it("a bound that isn't finite allows nothing", () => {
    expect(check(1, 1.5, Infinity).ok).toBe(false);
    expect(check(1, 1.5, NaN).ok).toBe(false);
    expect(check(1, 1, NaN).ok).toBe(true);
  });

  it("allows for the rounding with which the expectation was stored, and nothing else", () => {
    const third: FileTensor = { data: Float32Array.of(1 / 3), shape: [1], dtype: "float32" };
    const got = (x: number) => compare("o", third, of([x]), Float64Array.of(0)).ok;
    expect(got(1 / 3)).toBe(true);
    expect(got(1 / 3 - 2 ** -25)).toBe(false);
    // 0.333251953125, and the unit there is 2^-12.
    const half: FileTensor = { data: Uint16Array.of(0x3555), shape: [1], dtype: "float16" };
    expect(compare("o", half, of([1 / 3]), Float64Array.of(0)).ok).toBe(true);
    expect(compare("o", half, of([1 / 3 + 2 ** -12]), Float64Array.of(0)).ok).toBe(false);
  });

  it("reports the element that is worst against its own bound, in ulp of the coarser format", () => {
    const expected: FileTensor = { data: Float32Array.of(1, 2, 4, 8), shape: [2, 2], dtype: "float32" };
    const got = {
      data: Float32Array.of(1, 2 + 2 ** -22, 4 + 2 ** -20, 8),
      shape: [2, 2],
      dtype: "float32" as const,
    };
    const report = compare("o", expected, got, Float64Array.of(1e-7, 1e-9, 1e-3, 1e-3));
    expect(report).toMatchObject({
      at: [0, 1],
      expected: 2,
      got: 2 + 2 ** -22,
      maxAbs: 2 ** -20,
      maxUlp: 2,
      ok: false,
    });
  });

  it("another shape throws", () => {
    expect(() => compare("o", of([1]), of([1, 2]), new Float64Array(2))).toThrow(
      "o: expected [2] for these inputs, got [1]",
    );
  });
});

/** Vitest's own comparison of large arrays takes seconds. */
function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

describe("case files", () => {
  const small = gaussian(21, [1, 1, 1, 2, 3, 4]);
  const file = (metadata: Record<string, string>, tensors: Record<string, FileTensor> = {}) =>
    readSafetensors(
      writeSafetensors({ metadata, tensors: { q: small.q, k: small.k, v: small.v, ...tensors } }),
    );

  it("seeded cases come back as they were written, and pass on the oracle", () => {
    for (let index = 0; index < 40; index++) {
      const { tags: _, ...content } = seededCase(5, index);
      const back = readCase(writeCase(content), content.name);
      expect(equal(writeCase(back), writeCase(content))).toBe(true);
      expect(checkCase(back, oracle, ALL).ok, content.name).toBe(true);
    }
  });

  it("the same seed gives the same bytes, another seed others", () => {
    expect(equal(writeCase(seededCase(9, 3)), writeCase(seededCase(9, 3)))).toBe(true);
    expect(equal(writeCase(seededCase(9, 3)), writeCase(seededCase(10, 3)))).toBe(false);
  });

  it("infinities are strings, null is absent, −1 an open side", () => {
    const json = {
      window: ["inf", -1],
      align: { offset: 2 },
      scale: null,
      lse_includes_sink: true,
      x_mine: 1,
      tags: [],
    };
    const { options } = caseOf(file({ attention: JSON.stringify(json), note: "" }), "f");
    expect(options).toMatchObject({ window: [Infinity, -1], align: { offset: 2 }, lse: true });
    expect(options.scale).toBeUndefined();
    expect(options.semantics).toMatchObject({ lseIncludesSink: true, emptyRow: "zero" });
  });

  it("a preset's name becomes its record, without the sink in lse", () => {
    const { options } = caseOf(file({ attention: '{"semantics": "flashAttention2"}' }), "f");
    expect(options.semantics).toMatchObject({
      emptyLse: "+inf",
      alibi: "distance-raw",
      lseIncludesSink: false,
    });
  });

  it("an unknown key or tensor fails the case by name", () => {
    const failing = (metadata: Record<string, string>, tensors?: Record<string, FileTensor>) => () =>
      caseOf(file(metadata, tensors), "f");
    expect(failing({ attention: '{"cauzal": true}' })).toThrow(new CaseFailure("cauzal: unknown option"));
    expect(failing({ attention: "{}", format: "pt" })).toThrow(new CaseFailure("format: unknown metadata"));
    expect(failing({ attention: "{}" }, { qq: small.q })).toThrow(new CaseFailure("qq: unknown tensor"));
    expect(failing({ attention: '{"semantics": "fa3"}' })).toThrow(CaseFailure);
  });

  it("what is broken throws, naming file and field", () => {
    const reading = (metadata: Record<string, string>) => () => caseOf(file(metadata), "f");
    expect(reading({})).toThrow(new SyntaxError("f: __metadata__.attention: expected JSON, got none"));
    expect(reading({ attention: "{" })).toThrow(SyntaxError);
    expect(reading({ attention: "[1]" })).toThrow(SyntaxError);
    const noK = readSafetensors(writeSafetensors({ metadata: { attention: "{}" }, tensors: { q: small.q } }));
    expect(() => caseOf(noK, "f")).toThrow(new SyntaxError("f: k: expected a tensor, got none"));
  });

  it("a wrong shape throws in the words of the file", () => {
    const lengths = {
      ...small,
      options: { ...small.options, keyLengths: { data: Int32Array.of(9), shape: [1] } },
    };
    expect(() => checkCase(lengths, oracle, ALL)).toThrow(/^key_lengths\[0\]: /);
    const wide: Case = { ...small, expected: new Map([["o", tensor(new Float32Array(9), [1, 1, 1, 9])]]) };
    expect(() => checkCase(wide, oracle, ALL)).toThrow(
      "o: expected [1,1,2,4] for these inputs, got [1,1,1,9]",
    );
    const grad: Case = { ...small, expected: new Map([["dq", small.q]]) };
    expect(() => checkCase(grad, oracle, ALL)).toThrow(/^dout: /);
  });

  it("gradients that a back end refuses fail the case, and what there is is compared", () => {
    const report = checkCase(golden("gqa8_2_f32__full"), rounded(), ALL);
    expect(report).toMatchObject({
      ok: false,
      failure: "gradients: none",
      outputs: { o: { ok: true }, lse: { ok: true } },
    });
    expect(Object.keys(report.outputs)).toEqual(["o", "lse"]);
  });

  it("what a back end refuses is a failure that names the option", () => {
    const backend: Backend = {
      ...oracle,
      forward: () => {
        throw new RangeError("softcap: not available");
      },
    };
    expect(checkCase(small, backend, ALL)).toEqual({
      ...{ name: small.name, path: null, outputs: {}, ok: false, failure: "softcap: not available" },
    });
  });
});

describe("gradients", () => {
  it.each([["to nearest", nearest, 0], ["all up", hostile, 1], ["all down", hostile, -1]] as const)(
    "bounds hold for float32 rounded %s, within 3 orders of the error",
    (_, round, up) => {
      const [N, M, D] = [12, 20, 16];
      const [q, k, v, dO] = [N, M, M, N].map((rows, n) => normal(50 + n, [1, 1, rows, D]));
      const forward = attention(q, k, v, { lse: true });
      const task = createBackwardProblem(q, k, v, forward.out, forward.lse!, dO);
      const exact = backward(task);
      const bounds = gradientBounds(task, FLOAT32);
      const head = { N, M, D, E: D, scale: 0.25, q: q.data, k: k.data, v: v.data, dO: dO.data };
      const got = backwardHead(head, round, up);
      for (const name of ["dq", "dk", "dv"] as const) {
        const ratios = Array.from(
          got[name],
          (x, n) => Math.abs(x - Number(exact[name].data[n])) / bounds[name][n],
        );
        expect(Math.max(...ratios), name).toBeLessThanOrEqual(1);
        expect(Math.max(...ratios), name).toBeGreaterThan(1e-3);
      }
    },
  );

  it("bounds catch a key gradient that forgets the group", () => {
    const content = golden("gqa8_2_f32__full");
    const dk = content.expected.get("dk")!;
    const halved = { ...dk, data: (dk.data as Float32Array).map((x) => x * 1.0000005) };
    const report = checkCase({ ...content, expected: new Map([["dk", halved]]) }, oracle, ALL);
    expect(report.outputs.dk.ok).toBe(false);
  });

  it("float64 bounds are within 1000 of the errors that the goldens' own float64 shows", () => {
    const content = golden("batch5_mha3_f32__full");
    const { outputs } = checkCase(content, oracle, ALL);
    expect(outputs.dq.ok).toBe(true);
    expect(outputs.dq.ratio).toBeGreaterThan(1e-3);
  });

  it("dlse enters", () => {
    const content = seededCase(
      1,
      [...Array(400).keys()].find((index) => seededCase(1, index).dlse !== null)!,
    );
    const without = computeCase({ ...content, dlse: null }, oracle, new Set(["dq"])).tensors.get("dq")!;
    const bounds = boundsOf(content, FLOAT32, new Set(["dq"])).get("dq")!;
    expect(compare("dq", fileTensor(without), content.expected.get("dq")! as Tensor, bounds).ok).toBe(false);
  });
});

describe("diff", () => {
  const content = gaussian(31, [2, 2, 1, 20, 20, 16], { causal: true, softcap: 4, scale: 0.25 });
  const wrong = (options: AttentionOptions) =>
    expecting(
      content,
      computeCase({ ...content, options: { ...content.options, ...options } }, oracle).tensors,
    ).expected;

  it("says that equal results are equal", () => {
    const diff = diffResults(content, content.expected, content.expected);
    expect(diff).toMatchObject({ ok: true, reasons: { a: [], b: [] } });
    expect(diff.outputs.map(({ output, histogram }) => [output, histogram[0]])).toEqual([["o", 1280], [
      "lse",
      80,
    ]]);
  });

  it.each<[string, AttentionOptions]>([
    ["the causal mask is missing", { causal: false }],
    ["the softcap is missing", { softcap: 0 }],
    ["scale applied twice", { scale: 0.0625 }],
    ["one key too few in each row (j < p)", { align: { offset: -1 } }],
    ["lse in base 2", { semantics: { lseIncludesSink: false, lseBase: "2" } }],
  ])("finds out that %s", (title, options) => {
    const { ok, reasons, outputs } = diffResults(content, wrong(options), content.expected);
    expect(ok).toBe(false);
    expect(reasons.a).toContain(title);
    expect(reasons.b).toEqual([]);
    expect(outputs.some(({ heads }) => heads.some(({ beyond, rows }) => beyond > 0 && rows.length > 0))).toBe(
      true,
    );
  });

  it("tells low precision from a mistake", () => {
    const half = new Map([...content.expected].map(([name, t]): [OutputName, FileTensor] => {
      const data = Float32Array.from(t.data as Float64Array, (x) => x * (1 + 2 ** -13));
      return [name, { data, shape: t.shape, dtype: "float32" }];
    }));
    expect(diffResults(content, half, content.expected).reasons.a).toEqual([
      "no more accurate than tf32 or float16",
    ]);
  });
});
