/** The fused forward where numbers end: ∞ and NaN behind masks, the limits of float32, and what it promises of itself. */
import { describe, expect, it } from "vitest";
import { forward, forwardSteps } from "../src/ops/forward.ts";
import type { AttentionOptions } from "../src/options.ts";
import { createProblem } from "../src/problem.ts";
import { forward as reference } from "../src/reference/attention.ts";
import { BlockMask } from "../src/sparse/blockmask.ts";
import { deterministic } from "../src/wasm/deterministic.ts";
import { instantiate } from "../src/wasm/load.ts";
import { check, each, engine, expectSameBits, inputs, run, tensor, type Tensors } from "./support/forward.ts";

describe("forward() what masked keys hold", () => {
  for (const poison of [NaN, Infinity, -Infinity]) {
    it(`${poison} in K and V at masked keys changes no bit`, () => {
      const clean = inputs({ H: 2, N: 90, M: 200, D: 8, E: 12 });
      const dirty = each(clean, ({ data, shape }) => ({
        data: (data as Float32Array).slice(),
        shape: shape!,
      }));
      const mask = new Uint8Array(200).fill(1);
      for (const j of [3, 64, 70, 199]) {
        mask[j] = 0;
        for (const h of [0, 1]) {
          (dirty[1].data as Float32Array).fill(poison, (h * 200 + j) * 8, (h * 200 + j + 1) * 8);
          (dirty[2].data as Float32Array).fill(poison, (h * 200 + j) * 12, (h * 200 + j + 1) * 12);
        }
      }
      const masked = { data: mask, dtype: "bool" as const, shape: [200] };
      const bias = { data: Float32Array.from(mask, (x) => x ? 0 : -Infinity), shape: [200] };
      for (
        const options of [{ mask: masked }, { bias }, { mask: masked, causal: true }, {
          mask: masked,
          window: [50, 0] as const,
        }]
      ) {
        expectSameBits(run(clean, options).result, run(dirty, options).result);
        expectSameBits(run(clean, options).result, run(dirty, options, { scalar: true }).result);
      }
    });
  }
  it("NaN of a row or a key stays with who sees it", () => {
    const tensors = inputs({ N: 70, M: 70, D: 4 });
    const clean = run(tensors, { causal: true }).result;
    const [q, , v] = tensors.map((t) => t.data as Float32Array);
    q[10 * 4] = NaN;
    v[60 * 4] = NaN;
    const { out, lse } = run(tensors, { causal: true }).result;
    for (let i = 0; i < 70; i++) {
      for (let e = 0; e < 4; e++) {
        if (i === 10 || (i >= 60 && e === 0)) expect(out[i * 4 + e]).toBeNaN();
        else expect(out[i * 4 + e]).toBe(clean.out[i * 4 + e]);
      }
      if (i === 10) expect(lse![i]).toBeNaN();
      else expect(lse![i]).toBe(clean.lse![i]);
    }
  });
});

describe("forward() numbers at the limits", () => {
  it("V at ±3e38", () => {
    const tensors = inputs({ N: 20, M: 300, D: 4 });
    (tensors[2].data as Float32Array).forEach((x, n, v) => v[n] = x < 0 ? -3e38 : 3e38);
    const { problem, result } = run(tensors);
    check(problem, result);
    expectSameBits(result, run(tensors, {}, { panelKeys: 64 }).result);
  });
  it("denormal Q, K or V", () => {
    for (const which of [0, 1, 2]) {
      const tensors = inputs({ N: 20, M: 100, D: 4 });
      (tensors[which].data as Float32Array).forEach((x, n, data) => data[n] = x * 1e-40);
      if (which < 2) (tensors[1 - which].data as Float32Array).forEach((x, n, data) => data[n] = x * 1e38);
      const { problem, result } = run(tensors);
      check(problem, result);
    }
  });
  it("products beyond float32 that the scale brings back", () => {
    for (const [size, scale] of [[1e20, 1e-41], [1e20, -1e-40], [3e37, 1e-76], [1e30, 1e-61], [1, 1e-60]]) {
      const tensors = inputs({ B: 2, H: 4, G: 2, N: 20, M: 150, D: 9 });
      for (const { data } of tensors.slice(0, 2)) {
        (data as Float32Array).forEach((x, n, all) => all[n] = x * size);
      }
      for (const options of [{}, { bias: tensor([20, 150], 4), softcap: 3 }, { causal: true }]) {
        const { problem, result } = run(tensors, { scale, ...options });
        check(problem, result);
        expectSameBits(result, run(tensors, { scale, ...options }, { panelKeys: 64, chunkRows: 8 }).result);
        expectSameBits(result, run(tensors, { scale, ...options }, { scalar: true }).result);
      }
    }
    // What is masked doesn't count for less, and does no harm.
    const tensors = inputs({ N: 9, M: 40, D: 3 });
    const [q, k] = tensors.map((t) => t.data as Float32Array);
    k.fill(3e38, 39 * 3);
    q.forEach((x, n) => q[n] = x * 1e9);
    const { problem, result } = run(tensors, {
      scale: 1e-10,
      mask: { data: Uint8Array.from({ length: 40 }, (_, j) => j < 39 ? 1 : 0), dtype: "bool", shape: [40] },
    });
    check(problem, result);
  });
  it("rising and falling maxima, scores below −1e4", () => {
    for (const slope of [3, -3, 0.01]) {
      const tensors = inputs({ N: 9, M: 300, D: 2 });
      const [q, k] = tensors.map((t) => t.data as Float32Array);
      for (let i = 0; i < 9; i++) q.set([1, 1], i * 2);
      for (let j = 0; j < 300; j++) k.set([j * slope, -2e4], j * 2);
      const { problem, result } = run(tensors, { scale: 1 });
      check(problem, result);
    }
  });
  it("a finite bias that overflows float32 once sloped hides nothing: its key's NaN shows", () => {
    const [q, k, v] = inputs({ H: 1, N: 4, M: 3, D: 8 });
    (v.data as Float32Array)[2 * 8 + 5] = NaN;
    const bias = { data: Float32Array.of(1, 2, -3.4028234663852886e38), shape: [1, 3] };
    for (const scalar of [false, true]) {
      const problem = createProblem(q, k, v, { bias, alibiSlopes: [2], semantics: "ggml" });
      const { out } = forward(engine, problem, { scalar });
      out.forEach((x, at) => expect(Number.isNaN(x)).toBe(at % 8 === 5));
    }
  });

  it("one key gives its value exactly", () => {
    const tensors = inputs({ N: 5, M: 1, D: 16 });
    const { out } = run(tensors).result;
    for (let i = 0; i < 5; i++) expect(out.subarray(i * 16, i * 16 + 16)).toEqual(tensors[2].data);
  });
});

describe("forward() promises", () => {
  const long = 32768;
  const x = tensor([1, 1, long, 64], 1);
  // [N,M] that overlap in memory: as long a row as any, without 4 GB.
  const bias = { ...tensor([2 * long], 2), shape: [long, long], strides: [1, 1] };
  const mask = {
    data: Uint8Array.from(bias.data, (y) => y > -1 ? 1 : 0),
    dtype: "bool" as const,
    shape: [long, long],
    strides: [1, 1],
  };
  const modes: [string, AttentionOptions][] = [
    ["non-causal", {}],
    ["causal", { causal: true }],
    ["a bias", { bias }],
    ["a mask", { mask }],
    ["bias, mask and everything else", {
      ...{
        bias,
        mask,
        softcap: 5,
        alibiSlopes: [0.1],
        sink: [1],
        sinkTokens: 4,
        window: [9000, 9000] as const,
      },
      dropout: { p: 0.1, seed: 1 },
    }],
    ["a block mask", {
      mask: BlockMask.from((_b, _h, i, j) => j % 512 < 100 || i === j, [1, 1, 1024, 1024]),
    }],
  ];
  it.each(modes)("grows memory by less than 4 MB for N = 32768, D = 64: %s", (_name, options) => {
    const fresh = instantiate(deterministic);
    const before = fresh.arena.size;
    // A block mask of N² bits is the caller's.
    const y = options.mask instanceof BlockMask ? { ...x, shape: [1, 1, 1024, 64] } : x;
    const steps = forwardSteps(fresh, createProblem(y, y, y, { ...options, lse: true }));
    for (let n = 0; n < 20; n++) steps.next();
    steps.return(undefined as never);
    expect(fresh.arena.size - before).toBeLessThan(4e6);
  });

  it("grows no further after the largest call", () => {
    const fresh = instantiate(deterministic);
    forward(fresh, createProblem(x, x, x, { causal: true, window: [64, 0] }));
    const after = fresh.arena.size;
    for (let n = 0; n < 50; n++) forward(fresh, createProblem(...inputs({ H: 2, N: n, M: 3 * n, D: 1 + n })));
    expect(fresh.arena.size).toBe(after);
  });

  it("takes steps of about 2^28 flops", () => {
    for (const [D, N] of [[8, 8192], [64, 3072], [256, 1536], [1024, 1024], [4096, 512]]) {
      const tensors = inputs({ N, M: N, D });
      for (const options of [{}, { bias: { ...bias, shape: [N, N] }, mask: { ...mask, shape: [N, N] } }]) {
        const steps = [...forwardSteps(engine, createProblem(...tensors, options))].length;
        expect(4 * N * N * D / steps, `D=${D}`).toBeLessThanOrEqual(2 ** 28);
      }
    }
  });

  it("errs by at most 5e-7·max|V| on inputs of variance 1", () => {
    const [q, k, v] = inputs({ N: 64, M: 1000, D: 64 }).map((t) => ({
      ...t,
      data: (t.data as Float32Array).map((x) => x * Math.sqrt(0.75)),
    })) as unknown as Tensors;
    const { out } = run([q, k, v]).result;
    const want = reference(createProblem(q, k, v)).out.data as Float64Array;
    const largest = (v.data as Float32Array).reduce((a, x) => Math.max(a, Math.abs(x)), 0);
    const worst = out.reduce((a, x, n) => Math.max(a, Math.abs(x - want[n])), 0);
    expect(worst).toBeLessThanOrEqual(5e-7 * largest);
    expect(worst).toBeGreaterThan(1e-9);
  });

  it("reports progress from 0 to 1 and gives its memory back when it is stopped", () => {
    const problem = createProblem(...inputs({ B: 2, H: 4, G: 2, N: 50, M: 200, D: 8 }));
    const mark = engine.arena.mark();
    const shares = [...forwardSteps(engine, problem, { chunkRows: 20, panelKeys: 64 })];
    expect(shares.length).toBeGreaterThan(2 * 2 * 5);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
    expect(shares.at(-1)).toBe(1);
    const steps = forwardSteps(engine, problem, { chunkRows: 20 });
    steps.next();
    steps.return(undefined as never);
    expect(engine.arena.mark()).toBe(mark);
  });
});
