/** Runtimes: order, progress, abort, closing, memory limits. */
import { describe, expect, it } from "vitest";
import { attention, createRuntime, FlashtileError } from "../src/index.ts";

const random = (size: number) =>
  Float32Array.from({ length: size }, (_, i) => Math.fround(((i * 7919) % 1000) / 500 - 1));
const tensor = (H: number, N: number, D: number) => ({ data: random(H * N * D), shape: [1, H, N, D] });
const small = tensor(2, 33, 16);
/** Seconds of work on one core: 4·H·N²·D = 550 GF. */
const large = tensor(8, 16384, 64);

describe("runtime", () => {
  it("gives the bits of the module's attention", async () => {
    const rt = await createRuntime();
    const a = await rt.attention(small, small, small, { causal: true, lse: true });
    const b = rt.sync.attention(small, small, small, { causal: true, lse: true });
    const c = attention(small, small, small, { causal: true, lse: true });
    expect(a).toEqual(c);
    expect(b).toEqual(c);
    rt.close();
  });

  it("aborts within 50 ms of work, says so, and goes on", async () => {
    const rt = await createRuntime();
    const controller = new AbortController();
    const shares: number[] = [];
    let aborted = 0;
    const call = rt.attention(large, large, large, {
      signal: controller.signal,
      onProgress: (share) => {
        shares.push(share);
        if (shares.length === 3) {
          aborted = process.cpuUsage().user;
          controller.abort(new Error("enough"));
        }
      },
    });
    const error = await call.catch((cause) => cause);
    // Work, not wall-clock: what else the machine does is not ours. cpuUsage counts microseconds.
    expect(process.cpuUsage().user - aborted).toBeLessThan(50_000);
    expect(error).toBeInstanceOf(FlashtileError);
    expect(error).toMatchObject({ code: "ABORTED", cause: { message: "enough" } });
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    expect(shares[2]).toBeLessThan(0.5);
    expect(await rt.attention(small, small, small)).toEqual(attention(small, small, small));
    rt.close();
  });

  it("rejects at once if the signal was aborted before", async () => {
    const rt = await createRuntime();
    const call = rt.attention(small, small, small, { signal: AbortSignal.abort() });
    await expect(call).rejects.toMatchObject({ code: "ABORTED" });
    rt.close();
  });

  it("computes a blocking call between the slices of another", async () => {
    const rt = await createRuntime();
    const controller = new AbortController();
    const expected = attention(small, small, small);
    let seen;
    const call = rt.attention(large, large, large, {
      signal: controller.signal,
      onProgress: () => {
        seen ??= rt.sync.attention(small, small, small);
        controller.abort();
      },
    });
    await expect(call).rejects.toMatchObject({ code: "ABORTED" });
    expect(seen).toEqual(expected);
    rt.close();
  });

  it("runs asynchronous calls in order", async () => {
    const rt = await createRuntime();
    const done: number[] = [];
    await Promise.all([3, 1, 2].map((n) => rt.attention(small, small, small).then(() => done.push(n))));
    expect(done).toEqual([3, 1, 2]);
    rt.close();
  });

  it("rejects what runs when it is closed, and everything after", async () => {
    const rt = await createRuntime();
    const call = rt.attention(large, large, large, { onProgress: () => rt.close() });
    await expect(call).rejects.toThrow("runtime: used after close()");
    rt.close();
    await expect(rt.attention(small, small, small)).rejects.toThrow("runtime: used after close()");
    expect(() => rt.sync.attention(small, small, small)).toThrow("runtime: used after close()");
    expect(() => rt.memory).toThrow("runtime: used after close()");
  });

  it("closes itself at the end of `await using`", async () => {
    const rt = await createRuntime();
    await rt[Symbol.asyncDispose]();
    expect(() => rt.kernels).toThrow("runtime: used after close()");
  });

  it("refuses what exceeds maxMemory, names the bytes, and stays usable", async () => {
    const rt = await createRuntime({ maxMemory: 2 ** 20 });
    const wide = tensor(1, 64, 4096);
    const error = await rt.attention(wide, wide, wide).catch((cause) => cause);
    expect(error).toMatchObject({ name: "FlashtileError", code: "NO_MEMORY" });
    expect(error.message).toMatch(/needed \d+ bytes of WebAssembly memory, limit 1048576/);
    expect(await rt.attention(small, small, small)).toEqual(attention(small, small, small));
    expect(rt.memory).toBeLessThanOrEqual(2 ** 20);
    rt.close();
  });

  it("never fails for want of memory that only made it faster", async () => {
    for (const [N, D] of [[64, 32], [128, 64]]) {
      const x = tensor(4, N, D);
      const { out } = attention(x, x, x);
      let least = 0;
      for (let pages = 2; pages < 64; pages++) {
        const rt = await createRuntime({ maxMemory: pages * 2 ** 16 });
        const calls = [{ lse: true }, {}].map((options) => {
          try {
            return rt.sync.attention(x, x, x, options).out.data;
          } catch (error) {
            expect(error).toMatchObject({ code: "NO_MEMORY" });
            return null;
          }
        });
        if (calls[0]) expect(calls).toEqual([out.data, out.data]);
        if (calls[0] && least === 0) least = pages;
        rt.close();
      }
      // 512 KiB.
      expect(least).toBeLessThanOrEqual(8);
      expect(least).toBeGreaterThan(2);
    }
  });

  it("rejects bad options by class and name", async () => {
    await expect(createRuntime({ kernels: {} as never })).rejects.toThrow(
      /^kernels: expected the kernels of/,
    );
    await expect(createRuntime({ maxMemory: -1 })).rejects.toThrow(RangeError);
    const rt = await createRuntime();
    await expect(rt.attention(small, small, small, { signal: 1 as never })).rejects.toThrow(
      /^signal: expected/,
    );
    await expect(rt.attention(small, small, small, { onProgress: 1 as never })).rejects.toThrow(
      /^onProgress: /,
    );
    expect(() => rt.sync.attention(small, small, small, { onProgress() {} } as never)).toThrow(
      /^onProgress: a blocking/,
    );
    rt.close();
  });
});
