/** Memory: as large as the largest call needs, whatever came before; results belong to the caller. */
import { build } from "esbuild";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type * as flashtile from "../src/index.ts";
import type { Runtime } from "../src/index.ts";
import type { AttentionOptions } from "../src/options.ts";
import type { TensorInput } from "../src/tensor.ts";
import { Random } from "./support/random.ts";

interface Call {
  readonly q: TensorInput;
  readonly k: TensorInput;
  readonly options: AttentionOptions;
}

/** Small calls (≤ 20 µs) of every size of buffer: rows, keys, widths, groups, masks, biases, 16-bit words. */
function calls(): Call[] {
  const random = new Random(11);
  const pick = <T>(...values: T[]): T => values[random.below(values.length)]!;
  return Array.from({ length: 60 }, () => {
    const [G, N, M, D] = [pick(1, 2), pick(0, 1, 2, 5, 8), pick(0, 1, 3, 16, 65), pick(1, 8, 17, 64)];
    const H = G * pick(1, 2);
    const tensor = (shape: number[]): TensorInput => {
      const length = shape.reduce((a, b) => a * b, 1);
      return pick(
        { data: new Float32Array(length).fill(0.5), shape },
        { data: new Uint16Array(length).fill(0x3800), shape, dtype: "float16" },
      );
    };
    const options: AttentionOptions = {
      causal: pick(true, false),
      lse: pick(true, false),
      ...pick({}, { bias: { data: new Float32Array(N * M), shape: [N, M] } }),
      ...pick({}, { mask: { data: new Uint8Array(M).fill(1), shape: [M], dtype: "bool" as const } }),
    };
    return { q: tensor([1, H, N, D]), k: tensor([1, G, M, D]), options };
  });
}

const attend = (rt: Runtime, { q, k, options }: Call) => rt.sync.attention(q, k, k, options);

const scratch = mkdtempSync(join(tmpdir(), "flashtile-"));
let createRuntime: typeof flashtile.createRuntime;

/** As users get it: unminified sources cost three times as much a call, in objects that the minifier flattens. */
beforeAll(async () => {
  const outfile = join(scratch, "index.mjs");
  const entry = join(import.meta.dirname, "../src/index.ts");
  await build({ entryPoints: [entry], outfile, bundle: true, format: "esm", minify: true });
  ({ createRuntime } = await import(/* @vite-ignore */ outfile));
});
afterAll(() => rmSync(scratch, { recursive: true }));

describe("memory", () => {
  it("100,000 calls of varying shapes leave no more than the largest of them needs", async () => {
    const all = calls();
    // One runtime a call, all alive, so that none inherits the memory of another.
    const alone = await Promise.all(all.map(() => createRuntime()));
    const needs = all.map((call, n) => {
      attend(alone[n]!, call);
      return alone[n]!.memory;
    });
    const rt = await createRuntime();
    const random = new Random(12);
    for (let n = 0; n < 100_000; n++) {
      const call = all[random.below(all.length)]!;
      // Now and then a call that is refused, which must leave nothing behind either.
      if (n % 1000 === 0) expect(() => attend(rt, { ...call, options: { scale: NaN } })).toThrow(RangeError);
      attend(rt, call);
    }
    expect(new Set(needs).size).toBeGreaterThan(1);
    expect(rt.memory).toBe(Math.max(...needs));
    for (const runtime of [...alone, rt]) runtime.close();
  });

  it("results outlive later calls and the runtime", async () => {
    const rt = await createRuntime();
    const x = { data: Float32Array.of(1, 2, 3, 4), shape: [1, 1, 1, 4] };
    const { out } = await rt.attention(x, x, x);
    const y = { data: new Float32Array(4 * 4096).fill(9), shape: [1, 1, 4096, 4] };
    await rt.attention(y, y, y);
    rt.close();
    expect([...out.data]).toEqual([1, 2, 3, 4]);
  });

  it("stays below 4 MiB for many rows of few columns, which the kernels pad", async () => {
    for (const [N, M, D, E] of [[40000, 64, 1, 1], [40000, 64, 8, 8], [20000, 300, 80, 8]]) {
      using rt = await createRuntime();
      const tensor = (rows: number, width: number) => ({
        data: new Float32Array(rows * width).fill(0.5),
        shape: [1, 1, rows, width],
      });
      const { out } = rt.sync.attention(tensor(N, D), tensor(M, D), tensor(M, E));
      expect(out.data[N * E - 1]).toBeCloseTo(0.5);
      expect(rt.memory).toBeLessThanOrEqual(2 ** 22);
    }
  });

  it("is refused beyond maxMemory, and the runtime goes on", async () => {
    const rt = await createRuntime({ maxMemory: 2 ** 20 });
    const small = { data: new Float32Array(64), shape: [1, 1, 1, 64] };
    const large = { data: new Float32Array(4096 * 512), shape: [1, 1, 4096, 512] };
    expect(() => rt.sync.attention(large, large, large)).toThrow(
      /^memory: needed \d+ bytes of WebAssembly memory, limit 1048576$/,
    );
    expect(rt.sync.attention(small, small, small).out.shape).toEqual([1, 1, 1, 64]);
    expect(rt.memory).toBeLessThanOrEqual(2 ** 20);
    rt.close();
  });

  it("close: twice is fine, use afterwards throws", async () => {
    const rt = await createRuntime();
    rt.close();
    rt.close();
    const x = { data: new Float32Array(4), shape: [1, 1, 1, 4] };
    expect(() => rt.sync.attention(x, x, x)).toThrow("runtime: used after close()");
    expect(() => rt.memory).toThrow("runtime: used after close()");
    await expect(rt.attention(x, x, x)).rejects.toThrow("runtime: used after close()");
  });
});
