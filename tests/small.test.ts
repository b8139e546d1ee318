/** Which problems go the short way (src/ops/small.ts), and that what it lays over what is over before it is read again. */
import { describe, expect, it } from "vitest";
import { createRuntime } from "../src/index.ts";
import type { AttentionOptions } from "../src/options.ts";
import { attendSmall } from "../src/ops/small.ts";
import { createProblem } from "../src/problem.ts";
import type { TensorInput } from "../src/tensor.ts";
import { Arena } from "../src/wasm/arena.ts";
import { engine, expectSameBits, inputs, run, tensor, type Tensors } from "./support/forward.ts";

const takes = (tensors: Tensors, options: AttentionOptions = {}, forward = {}, on = engine) => {
  const mark = on.arena.mark();
  try {
    return attendSmall(on, createProblem(...tensors, options), forward) !== null;
  } finally {
    on.arena.release(mark);
  }
};
const shape = { B: 2, H: 4, G: 2, N: 20, M: 70, D: 16 };

describe("attendSmall()", () => {
  it("takes what is small and plain, masked by intervals, of any widths", () => {
    for (
      const options of [{}, { causal: true }, { window: [3, 5], sinkTokens: 2 }, { softcap: 2 }] as const
    ) {
      expect(takes(inputs(shape), options)).toBe(true);
    }
    expect(takes(inputs({ ...shape, E: 5 }), { keyLengths: [0, 70], scale: -1 })).toBe(true);
    expect(takes(inputs(shape), {}, { br: 32, chunkRows: 40, panelKeys: 128 })).toBe(true);
  });

  it("leaves everything else", () => {
    const [q, k, v] = inputs(shape);
    const others: [Tensors, AttentionOptions?, object?][] = [
      [[q, k, v], { lse: true }],
      [[q, k, v], { probabilities: true }, { written: "weights" }],
      [[q, k, v], { bias: tensor([20, 70], 4) }],
      [[q, k, v], { mask: { data: new Uint8Array(70).fill(1), shape: [70], dtype: "bool" } }],
      [[q, k, v], { alibiSlopes: [1, 2, 3, 4] }],
      [[q, k, v], { sink: [1, 2, 3, 4] }],
      [[q, k, v], { dropout: { p: 0.5, seed: 1 } }],
      [[q, k, v], { precision: "int8" }],
      [[q, k, v], { window: [[1, 1], [2, 2], [3, 3], [4, 4]] }],
      [[q, k, v], { scale: 1e-20 }],
      [inputs({ H: 4, N: 20, M: 20, D: 16 }), { layout: "bnhd" }],
      [[q, k, v], {}, { chunkRows: 8 }],
      [[q, k, v], {}, { panelKeys: 64 }],
      [[q, k, v], {}, { scalar: true }],
      [[{ ...q, strides: [0, 0, 16, 1] }, k, v]],
      [[q, { ...k, strides: [2240, 1120, 1, 70] }, v]],
      [inputs({ H: 2, N: 1025, M: 8, D: 16 })],
      [inputs({ H: 64, N: 128, M: 129, D: 1 })],
      [inputs({ H: 2, N: 512, M: 8, D: 1, E: 64 })],
      [inputs({ N: 3, M: 3, D: 4, E: 0 })],
    ];
    others.forEach(([tensors, options, forward], x) => {
      expect([x, takes(tensors, options, forward)]).toEqual([x, false]);
    });
  });

  it("leaves all memory to those who need it", () => {
    const on = { ...engine, arena: new Arena(engine.arena.memory, 2 ** 20) };
    expect(takes(inputs(shape), {}, {}, on)).toBe(false);
  });

  // Results may lie over the copy of Q: not if rows are wider, end within a strip, or are read again.
  const rows: [string, { D: number; E: number }, ((q: TensorInput) => TensorInput)?][] = [
    ["as wide as Q's", { D: 16, E: 16 }],
    ["wider", { D: 16, E: 24 }],
    ["wider, in one batch", { D: 16, E: 24 }, (q) => ({ ...q, shape: [1, 4, 20, 16] })],
    ["narrower", { D: 16, E: 8 }],
    ["as wide, not of whole strips", { D: 12, E: 12 }],
    ["of a Q that all batches share", { D: 16, E: 16 }, (q) => ({ ...q, strides: [0, 320, 16, 1] })],
    ["of a Q whose batches overlap", { D: 16, E: 16 }, (q) => ({ ...q, strides: [640, 320, 16, 1] })],
    [
      "of a Q with room between batches",
      { D: 16, E: 16 },
      (q) => ({ ...q, shape: [1, 4, 20, 16], offset: 1280 }),
    ],
  ];
  for (const [name, widths, change] of rows) {
    it(`result rows ${name}: the bits of head after head`, () => {
      const [q, k, v] = inputs({ ...shape, ...widths });
      const changed = change ? change(q) : q;
      const B = (changed.shape as number[])[0];
      const first = (x: TensorInput) => ({ ...x, shape: [B, ...(x.shape as number[]).slice(1)] });
      const tensors: Tensors = [changed, first(k), first(v)];
      expect(takes(tensors)).toBe(true);
      expectSameBits(run(tensors).result, run(tensors, {}, { panelKeys: 64 }).result);
    });
  }

  it("writes nowhere but to its results where Q lies in a runtime's memory, this one's or another's", async () => {
    const tensors = inputs({ H: 2, N: 20, M: 70, D: 16 });
    using rt = await createRuntime();
    using other = await createRuntime();
    const want = rt.sync.attention(...tensors).out.data;
    // At the same addresses, 0 in one of the memories at first.
    const [own, foreign] = [rt, other].map((home) =>
      tensors.map(({ shape }) => home.tensor(shape as number[]))
    );
    for (const [q, k, v] of [foreign, own]) {
      [q, k, v].forEach((x, n) => x.write(tensors[n].data as Float32Array));
      expect(rt.sync.attention(q, k, v).out.data).toEqual(want);
      [q, k, v].forEach((x, n) => expect(x.read()).toEqual(tensors[n].data));
    }
  });
});
