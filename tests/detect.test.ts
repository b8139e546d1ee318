/** Engines that lack something: what is said, and what still works. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { attention as exact } from "../src/reference/index.ts";

const x = { data: Float32Array.of(1, 2, 3, 4), shape: [1, 1, 2, 2] };

/** The package as a page loads it: engines that an earlier test left idle would need no detection. */
const load = () => import("../src/index.ts");

/** A constructor of an engine that hasn't got what it takes. */
class Refusing {
  constructor() {
    throw new RangeError("not here");
  }
}

describe("detection", () => {
  beforeEach(() => vi.resetModules());
  afterEach(() => vi.unstubAllGlobals());

  const noSimd = {
    code: "NO_SIMD",
    message: "this engine has no WebAssembly SIMD; flashtile/reference works without it",
  };

  it("without SIMD every door says so, and the reference still works", async () => {
    vi.stubGlobal("WebAssembly", { ...members(), validate: () => false, Module: Refusing });
    const { attention, createRuntime, FlashtileError } = await load();
    expect(() => attention(x, x, x)).toThrow(expect.objectContaining(noSimd));
    expect(() => attention(x, x, x)).toThrow(FlashtileError);
    await expect(createRuntime()).rejects.toMatchObject(noSimd);
    expect(exact(x, x, x).out.shape).toEqual([1, 1, 2, 2]);
  });

  it("the same where there is no WebAssembly at all", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    const { attention } = await load();
    expect(() => attention(x, x, x)).toThrow(expect.objectContaining(noSimd));
    expect(exact(x, x, x).out.shape).toEqual([1, 1, 2, 2]);
  });

  it("without relaxed SIMD the relaxed kernels say so, and the deterministic ones work", async () => {
    const { Module, validate } = WebAssembly;
    // The probe of relaxed SIMD is the module that uses opcode 0x105 (253 133 2), fused multiply-add.
    const plain = (bytes: Uint8Array) =>
      !bytes.join().includes("253,133,2") && validate(bytes as BufferSource);
    class Plain {
      constructor(bytes: Uint8Array) {
        if (!plain(bytes)) throw new WebAssembly.CompileError("invalid opcode");
        return new Module(bytes as BufferSource);
      }
    }
    vi.stubGlobal("WebAssembly", { ...members(), validate: plain, Module: Plain });
    const { attention, createRuntime } = await load();
    const { relaxed } = await import("../src/relaxed.ts");
    await expect(createRuntime({ kernels: relaxed })).rejects.toMatchObject({
      code: "NO_SIMD",
      message: expect.stringMatching(
        /no WebAssembly relaxed SIMD; the deterministic kernels and flashtile\/reference/,
      ),
    });
    expect(attention(x, x, x).out.shape).toEqual([1, 1, 2, 2]);
  });

  it("an engine that gives no memory is NO_MEMORY", async () => {
    vi.stubGlobal("WebAssembly", { ...members(), Memory: Refusing });
    const { createRuntime } = await load();
    await expect(createRuntime()).rejects.toMatchObject({ code: "NO_MEMORY" });
  });
});

/** WebAssembly's members are not enumerable. */
function members(): typeof WebAssembly {
  return Object.fromEntries(
    Object.getOwnPropertyNames(WebAssembly).map((
      name,
    ) => [name, WebAssembly[name as keyof typeof WebAssembly]]),
  ) as unknown as typeof WebAssembly;
}
