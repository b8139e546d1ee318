/** Threads: proved by running a kernel on one; where they cannot be, the reason in words. */
import { build } from "esbuild";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { threadSupport } from "../src/threads.ts";
import { deterministic } from "../src/wasm/deterministic.ts";
import { shared } from "../src/wasm/share.ts";

const scratch = mkdtempSync(join(tmpdir(), "flashtile-"));
afterAll(() => rmSync(scratch, { recursive: true }));
afterEach(() => vi.unstubAllGlobals());

describe("threadSupport", () => {
  it("runs a kernel on a second thread over one memory", async () => {
    expect(await threadSupport()).toEqual({ available: true, reason: "" });
  });

  it("takes the worker from a URL", async () => {
    const outfile = join(scratch, "worker.cjs");
    const entry = join(import.meta.dirname, "../src/wasm/worker.ts");
    await build({ entryPoints: [entry], outfile, bundle: true, format: "iife" });
    expect(await threadSupport({ workerUrl: pathToFileURL(outfile) })).toEqual({
      available: true,
      reason: "",
    });
  });

  it("a worker that isn't there is a reason, not an exception", async () => {
    const workerUrl = pathToFileURL(join(scratch, "absent.cjs"));
    expect(await threadSupport({ workerUrl })).toEqual({
      available: false,
      reason: expect.stringContaining("absent.cjs"),
    });
  });

  it.each([
    ["no SharedArrayBuffer", { SharedArrayBuffer: undefined }, "there is no SharedArrayBuffer"],
    [
      "a page that is not isolated",
      { SharedArrayBuffer: undefined, crossOriginIsolated: false },
      "the page is not cross-origin isolated (COOP and COEP headers)",
    ],
    ["neither Worker nor node:worker_threads", { Worker: undefined, process: {} }, "there is no Worker"],
    [
      "a policy against blob: workers",
      {
        Worker: class {
          constructor(url: string) {
            throw new Error(`Refused to create a worker from ${url.slice(0, 5)}`);
          }
        },
      },
      "Refused to create a worker from blob:",
    ],
  ])("%s is a reason", async (_, globals, reason) => {
    for (const [name, value] of Object.entries(globals)) vi.stubGlobal(name, value);
    expect(await threadSupport()).toEqual({ available: false, reason });
  });
});

describe("shared flavour of the kernels", () => {
  const bytes = deterministic.bytes!();

  it("differs in one byte, the limits flag", () => {
    const flipped = shared(bytes);
    const where = [...bytes.keys()].filter((at) => bytes[at] !== flipped[at]);
    expect(where.length).toBe(1);
    expect([bytes[where[0]!], flipped[where[0]!]]).toEqual([1, 3]);
    const [memory] = WebAssembly.Module.imports(new WebAssembly.Module(flipped as BufferSource));
    expect(memory).toMatchObject({ module: "env", name: "memory", kind: "memory" });
  });

  it("is refused where there is nothing to flip", () => {
    const header = bytes.subarray(0, 8);
    expect(() => shared(header)).toThrow("kernels: expected a memory import, found none");
    expect(() => shared(shared(bytes))).toThrow(
      "kernels: expected an unshared memory with a maximum, found limits 3",
    );
    // (module (import "" "" (global i32)))
    const global = Uint8Array.of(...header, 2, 6, 1, 0, 0, 3, 127, 0);
    expect(() => shared(global)).toThrow("kernels: expected to import a memory alone, found kind 3");
  });
});
