/** Tensors in a runtime's memory: the bits of the same call on arrays, and nothing lost, leaked or left dangling. */
import { describe, expect, it } from "vitest";
import { createRuntime, type RuntimeDType, sage, type TensorInput } from "../src/index.ts";
import * as reference from "../src/reference/index.ts";
import { encodeFloat16 } from "../src/dtype.ts";
import type { AttentionOptions } from "../src/options.ts";
import type { Runtime } from "../src/runtime.ts";
import { gaussian } from "../bench/inputs.ts";

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

function array(shape: number[], seed: number, dtype: RuntimeDType = "float32"): TensorInput {
  const data = gaussian(sizeOf(shape), seed);
  return dtype === "float32"
    ? { data, shape }
    : { data: Uint16Array.from(data, encodeFloat16), shape, dtype };
}

const held = (rt: Runtime, { data, shape, dtype }: TensorInput) =>
  rt.tensor(shape!, (dtype ?? "float32") as RuntimeDType).write(data as Float32Array);

/** q, k, v and options: what is packed from where it lies, and what is staged all the same. */
const CASES: [string, number[], number[], number[], AttentionOptions, RuntimeDType?][] = [
  ["heads", [2, 3, 70, 24], [2, 3, 90, 24], [2, 3, 90, 17], { causal: true }],
  ["groups", [1, 8, 37, 64], [1, 2, 130, 64], [1, 2, 130, 32], { window: [20, 3], sinkTokens: 2 }],
  ["bnhd", [2, 37, 8, 16], [2, 50, 4, 16], [2, 50, 4, 16], { layout: "bnhd" }],
  ["bnhd, one head", [2, 37, 1, 16], [2, 50, 1, 16], [2, 50, 1, 16], { layout: "bnhd", causal: true }],
  ["thd", [60, 2, 16], [60, 1, 16], [60, 1, 16], {
    layout: "thd",
    causal: true,
    cuSeqlens: { q: [0, 13, 13, 60], k: [0, 13, 14, 60] },
  }],
  ["lengths", [2, 2, 9, 16], [2, 2, 200, 16], [2, 2, 200, 16], { keyLengths: [3, 170], causal: true }],
  ["float16", [1, 2, 33, 16], [1, 2, 65, 16], [1, 2, 65, 16], {}, "float16"],
  ["int12", [1, 4, 70, 32], [1, 2, 90, 32], [1, 2, 90, 32], { precision: "int12" }],
  ["int8", [1, 4, 70, 31], [1, 4, 90, 31], [1, 4, 90, 16], { precision: "int8", causal: true }],
  ["int4, E4M3", [1, 4, 70, 32], [1, 2, 90, 32], [1, 2, 90, 20], {
    precision: sage({
      qk: "int4",
      granularity: "token",
      rounding: "half-even",
      smoothQ: false,
      pv: "float32/fp8",
    }),
  }],
  ["more than caches hold", [1, 1, 3, 64], [1, 1, 33_000, 64], [1, 1, 33_000, 64], {}],
  ["no keys", [1, 2, 5, 8], [1, 2, 0, 8], [1, 2, 0, 8], {}],
  ["width 1", [1, 2, 5, 1], [1, 2, 9, 1], [1, 2, 9, 1], {}],
];

describe("tensors of a runtime", () => {
  it.each(CASES)("give the bits of arrays: %s", async (_, qShape, kShape, vShape, options, dtype) => {
    const rt = await createRuntime();
    const inputs = [array(qShape, 1, dtype), array(kShape, 2, dtype), array(vShape, 3, dtype)] as const;
    const [q, k, v] = inputs.map((x): TensorInput => held(rt, x)) as [TensorInput, TensorInput, TensorInput];
    const want = rt.sync.attention(...inputs, { ...options, lse: true });
    expect(rt.sync.attention(q, k, v, { ...options, lse: true })).toEqual(want);
    expect(await rt.attention(q, k, v, { ...options, lse: true })).toEqual(want);
    rt.close();
  });

  it("are planned for, are bias and mask, are what another runtime and the oracle take", async () => {
    const rt = await createRuntime(), other = await createRuntime();
    const shape = [1, 2, 20, 16];
    const x = array(shape, 1), bias = array([20, 20], 2);
    const [rx, rbias] = [held(rt, x), held(rt, bias)];
    const want = rt.sync.attention(x, x, x, { bias });
    expect(rt.sync.plan({ q: shape, k: shape, v: shape }, { bias: rbias }).run(rx, rx, rx)).toEqual(want);
    expect(other.sync.attention(rx, rx, rx, { bias: rbias })).toEqual(want);
    // Transposed: gathered element by element.
    const turned = { ...bias, strides: [1, 20] };
    const rturned = { data: rbias.data, shape: [20, 20], strides: [1, 20] };
    expect(rt.sync.attention(rx, rx, rx, { bias: rturned })).toEqual(
      rt.sync.attention(x, x, x, { bias: turned }),
    );
    expect(reference.attention(rx, rx, rx)).toEqual(reference.attention(x, x, x));
    expect(rt.sync.softmax(rx)).toEqual(rt.sync.softmax(x));
    rt.close();
    other.close();
  });

  it("may be made, which grows memory, while a call is under way", async () => {
    const rt = await createRuntime();
    const x = array([1, 4, 700, 64], 1), bias = array([700, 700], 2);
    const want = rt.sync.attention(x, x, x, { bias });
    const [rx, rbias] = [held(rt, x), held(rt, bias)];
    const before = rt.memory;
    const call = rt.attention(rx, rx, rx, { bias: rbias, onProgress: () => held(rt, x) });
    const words = Float32Array.from({ length: 2 ** 20 }, (_, n) => n);
    const more = rt.tensor([words.length]).write(words);
    expect(rt.memory).toBeGreaterThanOrEqual(before + 2 ** 22);
    expect(await call).toEqual(want);
    expect(Buffer.from(more.read().buffer).equals(Buffer.from(words.buffer))).toBe(true);
    rt.close();
  });

  it("are of zeros until written, and read as copies", async () => {
    const rt = await createRuntime();
    held(rt, array([100], 1)).free();
    const t = rt.tensor([2, 3]);
    expect(t.read()).toEqual(new Float32Array(6));
    t.write(new Float32Array([1, 2, 3, 4, 5, 6]));
    const copy = t.read();
    copy.fill(9);
    expect([...t.data]).toEqual([1, 2, 3, 4, 5, 6]);
    expect(rt.tensor([2], "bfloat16").write(new Uint16Array([0x3f80, 7])).read()).toEqual(
      new Uint16Array([0x3f80, 7]),
    );
    rt.close();
  });

  it("give their memory back when freed, in any order, and keep what is beside them", async () => {
    const rt = await createRuntime();
    const x = array([1, 2, 100, 64], 1);
    const want = rt.sync.attention(x, x, x);
    const kept = held(rt, array([999], 5));
    const live = Array.from({ length: 8 }, () => held(rt, x));
    rt.sync.attention(live[3]!, live[5]!, live[7]!);
    const most = rt.memory;
    for (let n = 0; n < 1000; n++) {
      const at = (n * 5) % 8;
      live[at]!.free();
      live[at]!.free();
      // Smaller or as large, so that gaps come and go.
      live[at] = held(rt, n % 3 ? x : array([1, 2, 10, 64], n));
      if (n % 100 === 0) expect(rt.sync.attention(x, x, x)).toEqual(want);
    }
    expect(rt.memory).toBe(most);
    expect(kept.read()).toEqual(array([999], 5).data);
    rt.close();
  });

  it("refuse what is wrong, with the name of it", async () => {
    const rt = await createRuntime({ maxMemory: 2 ** 21 });
    const t = rt.tensor([2, 3]);
    expect(() => t.write(new Float32Array(5))).toThrow(
      new RangeError("data: expected 6 elements for [2,3], got 5"),
    );
    expect(() => t.write(new Uint16Array(6))).toThrow(
      new TypeError("data: expected a Float32Array, got Uint16Array"),
    );
    expect(() => t.write(null as never)).toThrow(new TypeError("data: expected a Float32Array, got null"));
    expect(() => rt.tensor(null as never)).toThrow(
      new TypeError("shape: expected an array of numbers, got null"),
    );
    expect(() => rt.tensor([2, -1])).toThrow(
      new RangeError("shape[1]: expected an integer from 0 to 1073741824, got -1"),
    );
    expect(() => rt.tensor([2], "int8" as never)).toThrow(RangeError);
    const before = rt.memory;
    expect(() => rt.tensor([2 ** 20])).toThrow(expect.objectContaining({ code: "NO_MEMORY" }));
    expect(rt.memory).toBe(before);
    t.free();
    expect(() => t.read()).toThrow("tensor: used after free()");
    expect(() => rt.sync.attention(t, t, t)).toThrow("tensor: used after free()");
    const u = rt.tensor([1]);
    rt.close();
    expect(() => u.read()).toThrow("tensor: used after its runtime's close()");
    u.free();
    expect(() => rt.tensor([1])).toThrow("runtime: used after close()");
  });
});
