/** The planner: what it counts against counting by hand, what it chooses, and that no choice changes a bit. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { run } from "../src/cli/program.ts";
import { attention, type AttentionOptions, createRuntime, type TensorInput } from "../src/index.ts";
import { measureCaches } from "../src/ops/measurecaches.ts";
import { forwardSteps } from "../src/ops/forward.ts";
import { cost, padded, type Shape, visits } from "../src/plan/cost.ts";
import { plan } from "../src/plan/index.ts";
import {
  flashAttention1,
  flashAttention2,
  ioModel,
  lowerBound,
  squareTiles,
  tensorWords,
} from "../src/plan/iomodel.ts";
import { cachesOf, isComplete, SMALL_CACHES } from "../src/plan/machine.ts";
import { shapeOf } from "../src/plan/shape.ts";
import { chooseTiles, tallest } from "../src/plan/tiles.ts";
import { createProblem, keyRange } from "../src/problem.ts";
import { deterministic } from "../src/wasm/deterministic.ts";
import { instantiate } from "../src/wasm/load.ts";
import { inputs, tensor } from "./support/forward.ts";
import { playFlashAttention1, playFlashAttention2, playSquareTiles } from "./support/twolevel.ts";

const side = fc.oneof(fc.constant(Infinity), fc.integer({ min: 0, max: 300 }));
const shapes: fc.Arbitrary<Shape> = fc.record({
  B: fc.integer({ min: 0, max: 3 }),
  G: fc.integer({ min: 1, max: 4 }),
  group: fc.integer({ min: 1, max: 8 }),
  N: fc.integer({ min: 0, max: 700 }),
  M: fc.integer({ min: 0, max: 900 }),
  D: fc.integer({ min: 1, max: 300 }),
  E: fc.integer({ min: 0, max: 300 }),
  left: side,
  right: side,
  offset: fc.integer({ min: -900, max: 900 }),
}).map(({ group, ...shape }) => ({ ...shape, H: shape.G * group }));
const open = { B: 1, H: 8, G: 8, N: 1024, M: 1024, D: 64, E: 64, left: Infinity, right: Infinity, offset: 0 };

describe("cost() counts", () => {
  it("the tiles that are visited", () => {
    const power = (most: number) => fc.integer({ min: 0, max: most }).map((n) => 2 ** n);
    fc.assert(
      fc.property(shapes, power(9), power(7), (shape, step, unit) => {
        const { H, G, N, M, left, right, offset } = shape;
        const inside = (j: number) => Math.min(M, Math.max(0, j));
        const seen = (first: number, last: number) =>
          Math.ceil(inside(last + offset + right + 1) / unit) -
          Math.floor(inside(first + offset - left) / unit);
        let count = 0;
        if (left === Infinity && right === Infinity) {
          count = Math.ceil(N * H / G / step) * Math.ceil(M / unit);
        } else if (step >= N) count = N && Math.ceil(N * H / G / step) * seen(0, N - 1);
        else for (let i = 0; i < N; i += step) count += H / G * seen(i, i + step - 1);
        expect(visits(shape, step, unit)).toBe(count);
      }),
      { numRuns: 3000 },
    );
  });

  it("the pairs that the masks allow", () => {
    for (
      const options of [{}, { causal: true }, { window: [30, 5] as const }, {
        causal: true,
        window: [9, 0] as const,
      }]
    ) {
      const problem = createProblem(...inputs({ B: 2, H: 4, G: 2, N: 50, M: 70, D: 4 }), options);
      let pairs = 0;
      for (let i = 0; i < 50; i++) {
        const { lo, hi } = keyRange(problem, 0, 0, i);
        pairs += 8 * (hi - lo);
      }
      const shape = shapeOf(problem);
      expect(cost(shape, chooseTiles(shape, SMALL_CACHES), SMALL_CACHES).pairs).toBe(pairs);
    }
  });

  it("what a simulated cache-sized tiling moves", () => {
    // 1 head, 512 × 512, D = E = 32: K and V tiles of 16 KB and 64 rows of Q and O, 16 KB, stay in 48 KB of L1.
    const shape = { ...open, H: 1, G: 1, N: 512, M: 512, D: 32, E: 32 };
    const tiles = { br: 64, chunkRows: 512, panelKeys: 512 };
    const { bytes, computed, packed } = cost(shape, tiles, { l1: 48 * 1024, l2: 2 ** 20 });
    expect(bytes.l1).toBe(8 * 512 * 256 + 512 * (4 * 32 + 8 * 32));
    expect(bytes.l2).toBe(512 * 256 + 512 * (4 * 32 + 8 * 32));
    expect(packed).toBe(512 * 64);
    expect(computed).toBe(512 * 512);
  });
});

describe("cost() laws", () => {
  const caches = fc.tuple(fc.integer({ min: 10, max: 18 }), fc.integer({ min: 0, max: 8 }))
    .map(([l1, more]) => ({ l1: 2 ** l1, l2: 2 ** (l1 + more) }));

  it("larger caches never ask for more bytes, and what stays fits them", () => {
    fc.assert(fc.property(shapes, caches, caches, (shape, one, other) => {
      const tiles = chooseTiles(shape, one);
      const large = { l1: Math.max(one.l1, other.l1), l2: Math.max(one.l2, other.l2) };
      const a = cost(shape, tiles, one), b = cost(shape, tiles, large);
      expect(b.bytes.l1).toBeLessThanOrEqual(a.bytes.l1);
      expect(b.bytes.l2).toBeLessThanOrEqual(a.bytes.l2);
      expect(b.seconds).toBeLessThanOrEqual(a.seconds);
      expect(a.resident.l1).toBeLessThanOrEqual(one.l1);
      expect(a.resident.l2).toBeLessThanOrEqual(one.l2);
    }));
  });

  it("each level delivers the tensors at least once, and not less than the order of the lower bound", () => {
    fc.assert(fc.property(shapes, caches, (shape, sizes) => {
      if (shape.N === 0 || shape.M === 0) return;
      const one = { ...shape, B: 1, H: 1, G: 1, left: Infinity, right: Infinity };
      const { bytes } = cost(one, chooseTiles(one, sizes), sizes);
      for (const level of ["l1", "l2"] as const) {
        expect(bytes[level]).toBeGreaterThanOrEqual(4 * lowerBound(one, sizes[level] / 4));
      }
    }));
  });

  it("taller blocks move fewer bytes, as long as they stay or once they don't", () => {
    const [b16, b32, b64, b128, b256] = [16, 32, 64, 128, 256].map((br) =>
      cost(open, { br, chunkRows: 1024, panelKeys: 1024 }, { l1: 48 * 1024, l2: 2 ** 20 }).bytes.l1
    );
    expect(b16).toBeGreaterThan(b32); // 32 KB of keys beside 8 or 16 KB of queries and outputs
    expect(b64).toBeGreaterThan(b32);
    expect(b64).toBeGreaterThan(b128);
    expect(b128).toBeGreaterThan(b256);
  });
});

describe("chooseTiles()", () => {
  const wide = fc.record({
    B: fc.constant(1),
    G: fc.integer({ min: 0, max: 64 }),
    group: fc.integer({ min: 1, max: 32 }),
    N: fc.oneof(fc.integer({ min: 0, max: 2 ** 30 }), fc.integer({ min: 0, max: 99 })),
    M: fc.oneof(fc.integer({ min: 0, max: 2 ** 30 }), fc.integer({ min: 0, max: 99 })),
    D: fc.integer({ min: 1, max: 20000 }),
    E: fc.integer({ min: 0, max: 20000 }),
    left: fc.oneof(side, fc.integer({ min: 0, max: 2 ** 30 })),
    right: side,
    offset: fc.integer({ min: -(2 ** 30), max: 2 ** 30 }),
    staged: fc.constantFrom(0, 1 / 8, 1, 4, 5),
  }).map(({ group, ...shape }) => ({ ...shape, H: shape.G * group }));

  it("is valid for any shape: tiles within the kernels' reach, 3 MiB of memory, 10 ms a step", () => {
    fc.assert(
      fc.property(wide, (shape) => {
        const { br, chunkRows, panelKeys } = chooseTiles(shape, SMALL_CACHES);
        expect(br % 4).toBe(0);
        expect(br).toBeGreaterThanOrEqual(4);
        expect(br).toBeLessThanOrEqual(256);
        expect(br).toBeLessThanOrEqual(chunkRows);
        expect(chunkRows % 4).toBe(0);
        expect(panelKeys % 64).toBe(0);
        expect(panelKeys).toBeGreaterThanOrEqual(64);
        // The least there is, 64 × 64, may exceed either limit.
        const width = 4 * (shape.D + padded(shape.E));
        if (panelKeys > 64) expect(panelKeys * width).toBeLessThanOrEqual(2 ** 21);
        if (chunkRows > 64) expect((chunkRows + panelKeys) * width).toBeLessThan(3 * 2 ** 20);
        if (chunkRows > 64) expect(chunkRows * panelKeys * (width / 2 / 54e9 + 6e-10)).toBeLessThan(0.0101);
        if (chunkRows > 64) expect(chunkRows * panelKeys * shape.staged).toBeLessThanOrEqual(2 ** 19);
      }),
      { numRuns: 2000 },
    );
  });

  it("is no dearer than any fixed size that keeps the limits of memory and time", () => {
    const far = { N: fc.integer({ min: 1, max: 20000 }), M: fc.integer({ min: 1, max: 20000 }) };
    const any = fc.record({
      shape: shapes,
      far: fc.oneof(fc.constant({}), fc.record(far)),
      staged: fc.constantFrom(0, 0, 0, 1, 4, 5, 1 / 8),
      caches: fc.constantFrom(SMALL_CACHES, { l1: 49152, l2: 2 ** 20 }, { l1: 2 ** 15, l2: 2 ** 19 }),
    });
    const over = fc.sample(any, { numRuns: 1000, seed: 5 }).map(({ shape: near, far, staged, caches }) => {
      const shape = { ...near, ...far, staged };
      const { N, M, H, G } = shape;
      const rows = Math.max(4, Math.ceil(N * H / G / 4) * 4), all = Math.max(64, Math.ceil(M / 64) * 64);
      let least = Infinity;
      for (let keys = 64; keys <= 8192; keys *= 2) {
        const panelKeys = Math.min(keys, all);
        for (let most = 64; most <= 4096; most *= 2) {
          const chunkRows = Math.min(most, rows);
          if (chunkRows > tallest(shape, panelKeys)) continue;
          for (let br = 4; br <= 256; br *= 2) {
            const tiles = { br: Math.min(br, chunkRows), chunkRows, panelKeys };
            least = Math.min(least, cost(shape, tiles, caches).seconds);
          }
        }
      }
      const { seconds } = cost(shape, chooseTiles(shape, caches), caches);
      return seconds <= least ? 0 : seconds / least - 1;
    });
    // The search is not exhaustive: a group of short heads in a narrow window may want a chunk that it does not try.
    expect(over.filter((x) => x > 0.02).length).toBeLessThanOrEqual(10);
    expect(Math.max(...over)).toBeLessThanOrEqual(0.2);
  });

  it("takes no time to speak of", () => {
    const tiny = { ...open, H: 4, G: 4, N: 64, M: 64, D: 32, E: 32 };
    for (let n = 0; n < 2000; n++) chooseTiles(tiny, SMALL_CACHES);
    const before = process.cpuUsage().user;
    for (let n = 0; n < 2000; n++) chooseTiles(tiny, SMALL_CACHES);
    // 0.4 to 1 µs each where measured; 20 µs would still be less than a tenth of the smallest call.
    expect(process.cpuUsage().user - before).toBeLessThan(2000 * 20);
  });

  it("plan() says what it is worth", () => {
    const { flops, pairs, bytes, intensity, tiles } = plan(open, SMALL_CACHES);
    expect(pairs).toBe(8 * 1024 * 1024);
    expect(flops).toBe(256 * pairs);
    expect(tiles.bc).toBe(64);
    for (const level of ["registers", "l1", "l2"] as const) {
      expect(intensity[level]).toBe(flops / bytes[level]);
    }
  });
});

describe("ioModel()", () => {
  const small = fc.record({
    N: fc.integer({ min: 1, max: 200 }),
    M: fc.integer({ min: 1, max: 200 }),
    D: fc.integer({ min: 1, max: 40 }),
    E: fc.integer({ min: 1, max: 40 }),
  });
  const fast = fc.integer({ min: 8, max: 20000 });

  it("counts what a machine of two levels moves, within its memory", () => {
    fc.assert(
      fc.property(small, fast, (shape, words) => {
        const two = flashAttention2(shape, words);
        if (two.br > 0 && two.bc < shape.M) {
          expect(playFlashAttention2(shape, two.br, two.bc, words)).toBe(two.words);
          const more = two.br + 1;
          if (more <= shape.N) expect(() => playFlashAttention2(shape, more, 1, words)).toThrow(RangeError);
        }
        const square = squareTiles(shape, words);
        if (square.br > 0) expect(playSquareTiles(shape, square.br, words)).toBe(square.words);
        // As published: S_ij, m and l come on top of the tiles, which fill the memory already.
        const one = flashAttention1(shape, words);
        expect(playFlashAttention1(shape, one.br, one.bc, Infinity)).toBe(one.words);
      }),
      { numRuns: 500 },
    );
  });

  it("FlashAttention-2 moves no more than FlashAttention-1, nothing less than the tensors or the bound", () => {
    // For D = E: with few keys that are much wider than the values, passing the queries by twice can be cheaper.
    fc.assert(
      fc.property(
        fc.record({
          N: fc.integer({ min: 1, max: 1e5 }),
          M: fc.integer({ min: 1, max: 1e5 }),
          D: fc.integer({ min: 8, max: 256 }),
        }).map((shape) => ({ ...shape, E: shape.D })),
        fc.integer({ min: 11, max: 20 }),
        (shape, log) => {
          const { fa1, fa2, square, bound } = ioModel(shape, 2 ** log);
          expect(fa2.words).toBeLessThanOrEqual(fa1.words);
          for (const { words } of [fa1, fa2, square]) {
            expect(words).toBeGreaterThanOrEqual(tensorWords(shape));
            expect(words).toBeGreaterThanOrEqual(bound);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("has the crossover of the theorem: square tiles where the memory is far below d², blocks of rows above", () => {
    const shape = { N: 4096, M: 4096, D: 128, E: 128 };
    for (
      const [words, winner] of [[1024, "square"], [2048, "square"], [4096, "fa2"], [65536, "fa2"]] as const
    ) {
      const { fa2, square } = ioModel(shape, words);
      expect(fa2.words < square.words ? "fa2" : "square").toBe(winner);
    }
    // FlashAttention-2 over the formula: 4.3 at S = d², where FlashAttention-1 has 12.2.
    const { fa1, fa2, bound } = ioModel(shape, 16384);
    expect(fa2.words / bound).toBeCloseTo(4.3, 1);
    expect(fa1.words / bound).toBeCloseTo(12.2, 1);
  });

  it("falls with the memory", () => {
    fc.assert(fc.property(small, fast, fast, (shape, a, b) => {
      const [less, more] = [ioModel(shape, Math.min(a, b)), ioModel(shape, Math.max(a, b))];
      expect(more.fa2.words).toBeLessThanOrEqual(less.fa2.words);
      expect(more.square.words).toBeLessThanOrEqual(less.square.words);
      expect(more.bound).toBeLessThanOrEqual(less.bound);
    }));
  });
});

describe("measureCaches()", () => {
  const sizes = Array.from({ length: 19 }, (_, x) => 2 ** (14 + (x >> 1)) * (x & 1 ? 1.5 : 1));
  const curve = (l1: number, l2: number, noise: (x: number) => number = () => 1) =>
    sizes.map((bytes, x) => ({ bytes, ns: (bytes <= l1 ? 1 : bytes <= l2 ? 3.5 : 14) * noise(x) }));

  it("reads two plateaus off a curve", () => {
    for (const l1 of [32768, 49152, 65536, 131072]) {
      for (const l2 of [2 ** 18, 2 ** 20, 1.5 * 2 ** 21]) expect(cachesOf(curve(l1, l2))).toEqual({ l1, l2 });
    }
  });

  it("in spite of disturbances, which only slow down", () => {
    const spiked = curve(49152, 2 ** 20, (x) => x % 3 === 1 ? 2.7 : 1 + 0.05 * (x % 2));
    expect(cachesOf(spiked)).toEqual({ l1: 49152, l2: 2 ** 20 });
  });

  it("makes do with what it has seen, and knows when that is enough", () => {
    const whole = curve(32768, 2 ** 19);
    expect(cachesOf(whole.slice(0, 2))).toBe(null);
    expect(cachesOf([])).toBe(null);
    expect(cachesOf(whole.slice(0, 6))).toEqual({ l1: 32768, l2: whole[5].bytes });
    const enough = whole.findIndex((_, x) => isComplete(whole.slice(0, x + 1)));
    expect(cachesOf(whole.slice(0, enough + 1))).toEqual(cachesOf(whole));
    expect(enough).toBeLessThan(sizes.length - 1);
  });

  it("gives up where the clock stands still or is too coarse", () => {
    expect(measureCaches(() => 5)).toBe(null);
    expect(measureCaches(() => Math.floor(performance.now()))).toBe(null);
  });

  it("finds something plausible here, in a moment", () => {
    const before = process.cpuUsage();
    const found = measureCaches(undefined, 400);
    const { user, system } = process.cpuUsage(before);
    // Work, not wall-clock: 10 to 30 ms on a core that others use too.
    expect((user + system) / 1e3).toBeLessThan(100);
    if (found === null) return; // a machine too busy to tell
    expect(found.l1).toBeGreaterThanOrEqual(2 ** 14);
    expect(found.l1).toBeLessThanOrEqual(2 ** 18);
    expect(found.l2).toBeGreaterThanOrEqual(2 * found.l1);
  });
});

describe("Runtime.plan()", () => {
  const variants: [string, AttentionOptions, [TensorInput, TensorInput, TensorInput]][] = [
    ["bhnd", { causal: true, lse: true }, inputs({ B: 2, H: 4, G: 2, N: 33, M: 70, D: 8, E: 12 })],
    ["bnhd", { layout: "bnhd", window: [9, 3] }, [
      tensor([1, 20, 4, 8], 1),
      tensor([1, 30, 2, 8], 2),
      tensor([1, 30, 2, 8], 3),
    ]],
    ["thd", { layout: "thd", cuSeqlens: { q: [0, 7, 20], k: [0, 9, 30] } }, [
      tensor([20, 4, 8], 1),
      tensor([30, 2, 8], 2),
      tensor([30, 2, 8], 3),
    ]],
    ["bias", { bias: tensor([40, 90], 7), softcap: 3 }, inputs({ H: 2, N: 40, M: 90, D: 8 })],
  ];
  const shapesOf = ([q, k, v]: [TensorInput, TensorInput, TensorInput]) => ({
    q: q.shape!,
    k: k.shape!,
    v: v.shape!,
  });

  it.each(variants)("gives the bits of attention(): %s", async (_, options, tensors) => {
    const rt = await createRuntime({ caches: { l1: 49152, l2: 2 ** 20 } });
    const planned = rt.plan(shapesOf(tensors), options);
    const want = attention(...tensors, options);
    expect(await planned.run(...tensors)).toEqual(want);
    expect(await planned.run(...tensors)).toEqual(want);
    expect(rt.sync.plan(shapesOf(tensors), options).run(...tensors)).toEqual(want);
    expect(await rt.attention(...tensors, options)).toEqual(want);
    const [D, E] = tensors.slice(1).map(({ shape }) => Array.from(shape!).at(-1)!);
    expect(planned.flops).toBe(planned.pairs * 2 * (D + E));
    rt.close();
  });

  it("refuses other shapes, dtypes and what a call alone can have", async () => {
    const rt = await createRuntime();
    const [q, k, v] = inputs({ H: 2, N: 10, M: 20, D: 8 });
    const planned = rt.plan(shapesOf([q, k, v]));
    await expect(planned.run(q, v, { ...v, shape: [1, 2, 8, 20] })).rejects.toThrow(
      "v: expected [1,2,20,8] as planned, got [1,2,8,20]",
    );
    await expect(planned.run({ ...q, data: Float64Array.from(q.data as Float32Array) }, k, v))
      .rejects.toThrow(RangeError);
    expect(() => rt.plan({ q: [1, 2, 10, 8], k: [1, 3, 20, 8], v: [1, 3, 20, 8] })).toThrow(/^k: /);
    expect(() => rt.plan({} as never)).toThrow(/^q/);
    expect(() => rt.plan(shapesOf([q, k, v]), { onProgress() {} } as never)).toThrow(/^onProgress: /);
    const aborted = planned.run(q, k, v, { signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    rt.close();
    await expect(planned.run(q, k, v)).rejects.toThrow(/close/);
  });

  it("refuses caches that are none", async () => {
    await expect(createRuntime({ caches: { l1: -1, l2: 5 } })).rejects.toThrow(/^caches\.l1: /);
    await expect(createRuntime({ caches: { l1: 1, l2: "1MB" as never } })).rejects.toThrow(/^caches\.l2: /);
  });
});

describe("masks", () => {
  it("of 2^20 causal queries and a window take memory for a chunk of rows, never N×M", () => {
    // As a bit for each pair they would take 128 GiB.
    const N = 2 ** 20;
    const line = { data: new Float32Array(N).fill(0.5), shape: [1, 1, N, 1] };
    for (const options of [{ causal: true }, { causal: true, window: [1000, 0] as const }]) {
      const engine = instantiate(deterministic);
      const problem = createProblem(line, line, line, options);
      const before = { wasm: engine.arena.size, js: process.memoryUsage().arrayBuffers };
      const steps = forwardSteps(engine, problem);
      for (let n = 0; n < 3; n++) expect(steps.next().done).toBe(false);
      expect(engine.arena.size - before.wasm).toBeLessThan(4e6);
      // Of JavaScript's own: O, 4 MiB, and what a step throws away.
      expect(process.memoryUsage().arrayBuffers - before.js - (engine.arena.size - before.wasm)).toBeLessThan(
        8e6,
      );
      steps.return(undefined as never);
    }
  });
});

describe("flashtile plan", () => {
  async function flashtile(...argv: string[]) {
    const io = { stdout: "", stderr: "" };
    const code = await run(argv, {
      stdout: { write: (text: string) => io.stdout += text },
      stderr: { write: (text: string) => io.stderr += text },
    });
    return { code, ...io };
  }

  it("prints tiles, bytes, flops and the I/O model", async () => {
    const { code, stdout, stderr } = await flashtile(
      ...["plan", "--queries", "1024", "--dim", "64", "--heads", "8", "--cache", "48KB,1MB"],
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (
      const text of ["B=1 H=8 G=8 N=1024 M=1024 D=64 E=64", "2.147 G flops", "L1 48 KB, L2 1 MB", "256 × 64"]
    ) {
      expect(stdout).toContain(text);
    }
    expect(stdout).toMatch(/L2 → L1 .*\n.*memory → L2 /);
    expect(stdout).toMatch(/FlashAttention-2 .*\(93 × 1\)/);
  });

  it("--json has the numbers of plan() and ioModel()", async () => {
    const { code, stdout } = await flashtile(
      ...["plan", "--queries", "300", "--keys", "2000", "--dim", "128", "--value-dim", "64", "--heads", "8"],
      ...[
        "--kv-heads",
        "2",
        "--batch",
        "3",
        "--causal",
        "--window",
        "255,open",
        "--cache",
        "32KiB,1m",
        "--json",
      ],
    );
    const shape = { B: 3, H: 8, G: 2, N: 300, M: 2000, D: 128, E: 64, left: 255, right: 0, offset: 1700 };
    const caches = { l1: 32768, l2: 2 ** 20 };
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      shape,
      source: "given",
      ...plan(shape, caches),
      model: { l1: ioModel(shape, 8192), l2: ioModel(shape, 2 ** 18) },
    });
  });

  it("measures the caches, or says that it assumes them", async () => {
    const { code, stdout } = await flashtile("plan", "--queries", "10", "--dim", "8");
    expect(code).toBe(0);
    expect(stdout).toMatch(/caches \((measured|assumed)\): L1 [\d.]+ KB, L2 [\d.]+ [KM]B/);
  });

  it.each([
    [["--dim", "64"]],
    [["--queries", "0", "--dim", "64"]],
    [["--queries", "1e3", "--dim", "64"]],
    [["--queries", "10", "--dim", "64", "--heads", "8", "--kv-heads", "3"]],
    [["--queries", "10", "--dim", "64", "--window", "5"]],
    [["--queries", "10", "--dim", "64", "--window", "5,-2"]],
    [["--queries", "10", "--dim", "64", "--cache", "1MB"]],
    [["--queries", "10", "--dim", "64", "--cache", "1MB,32KB"]],
    [["--queries", "10", "--dim", "64", "--cache", "32XB,1MB"]],
    [["--queries", "10", "--dim", "64", "more"]],
  ])("%j is refused in one line with code 2", async (argv) => {
    const { code, stdout, stderr } = await flashtile("plan", ...argv);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^flashtile: [^\n]+\n$/);
  });
});
