/** Kernels travel as text: what comes out of it is what the compiler wrote. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { text as deterministic } from "../src/wasm/generated/deterministic.ts";
import { text as relaxed } from "../src/wasm/generated/relaxed.ts";
import { fromText } from "../src/wasm/text.ts";

const build = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../build/${name}.wasm`, import.meta.url)));

it("is the build, in any memory, whose first page is empty afterwards", () => {
  for (const [name, text] of Object.entries({ deterministic, relaxed })) {
    expect(fromText(text)).toEqual(build(name));
    const memory = new WebAssembly.Memory({ initial: 2, maximum: 4 });
    const bytes = fromText(text, memory);
    expect(bytes.buffer).toBe(memory.buffer);
    expect(bytes).toEqual(build(name));
    expect(new Uint8Array(memory.buffer, 0, 65536).every((byte) => byte === 0)).toBe(true);
  }
});
