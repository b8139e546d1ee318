/**
 * From kernel bytes to a live engine: one instance, one memory, one arena.
 *
 * The module is compiled once per build and shared; instances cost 0.1–0.7 ms and own their memory, so that dropping
 * an engine is what gives memory back.
 */
import { FlashtileError } from "../errors.ts";
import { Arena, BASE, PAGE } from "./arena.ts";
import { hasRelaxedSimd, hasSimd } from "./detect.ts";
import type { KernelExports } from "./exports.ts";
import { fromText } from "./text.ts";

/** One build of the kernels: where its code comes from. */
export interface Kernels {
  readonly name: "deterministic" | "relaxed";
  /** Compiles at the first call. */
  module(): WebAssembly.Module;
  /** The code itself, absent where the host compiled it (workerd). */
  bytes?(): Uint8Array;
}

/** A running instance of the kernels with its own memory. */
export interface Engine {
  readonly name: Kernels["name"];
  readonly kernels: KernelExports;
  readonly arena: Arena;
}

/** 4 GiB, all that 32-bit addresses reach. */
export const MAX_MEMORY = 65536 * PAGE;

const INITIAL_PAGES = BASE / PAGE + 1;

/** Kernels whose bytes travel in the JavaScript. */
export function inlined(name: Kernels["name"], text: () => string): Kernels {
  let module: WebAssembly.Module | undefined;
  const bytes = () => fromText(text());
  return { name, bytes, module: () => (module ??= new WebAssembly.Module(bytes() as BufferSource)) };
}

/** Kernels that the host compiled. */
export function compiled(name: Kernels["name"], module: WebAssembly.Module): Kernels {
  return { name, module: () => module };
}

/**
 * Instantiates a build. `maxMemory` is in bytes and bounds what the arena hands out.
 *
 * @throws FlashtileError NO_SIMD if the engine cannot run this build, NO_MEMORY if it has no memory to give.
 */
export function instantiate(build: Kernels, maxMemory: number = MAX_MEMORY): Engine {
  if (!hasSimd()) {
    throw new FlashtileError(
      "NO_SIMD",
      "this engine has no WebAssembly SIMD; flashtile/reference works without it",
    );
  }
  if (build.name === "relaxed" && !hasRelaxedSimd()) {
    throw new FlashtileError(
      "NO_SIMD",
      "this engine has no WebAssembly relaxed SIMD; the deterministic kernels and flashtile/reference work without it",
    );
  }
  const limit = memoryLimit(maxMemory);
  let memory: WebAssembly.Memory;
  try {
    memory = new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum: limit / PAGE });
  } catch (cause) {
    throw new FlashtileError("NO_MEMORY", `memory: the engine refused a memory of at most ${limit} bytes`, {
      cause,
    });
  }
  const { exports } = new WebAssembly.Instance(build.module(), { env: { memory } });
  return {
    name: build.name,
    kernels: exports as unknown as KernelExports,
    arena: new Arena(memory, limit),
  };
}

/** Whole pages, at least one beyond the tables, at most what 32 bits address. */
export function memoryLimit(bytes: number): number {
  return Math.min(Math.max(Math.floor(bytes / PAGE), INITIAL_PAGES) * PAGE, MAX_MEMORY);
}
