/**
 * From kernel bytes to a live engine: one instance, one memory, one arena.
 *
 * The module is compiled once per build and shared; instances cost 0.1–0.7 ms and own their memory, so that dropping
 * an engine is what gives memory back.
 */
import { FlashtileError } from "../errors.ts";
import { Arena, BASE, PAGE } from "./arena.ts";
import { hasSimd } from "./detect.ts";
import type { KernelExports } from "./exports.ts";
import { fromText } from "./text.ts";

/** One build of the kernels: where its code comes from. */
export interface Kernels {
  readonly name: "deterministic" | "relaxed";
  /** Compiles at the first call, in two pages of a memory that nobody uses yet, if it is given one. */
  module(memory?: WebAssembly.Memory): WebAssembly.Module;
  /** Where it doesn't compile: what the engine lacks for it beside SIMD, and what works without; or null. */
  lacks?(): string | null;
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
/** Behind what unpacked kernels leave in the second page. */
const WARM = BASE + 3 * PAGE / 4;

/** Kernels whose bytes travel in the JavaScript. */
export function inlined(name: Kernels["name"], text: () => string): Kernels {
  let module: WebAssembly.Module | undefined;
  return {
    name,
    bytes: () => fromText(text()).slice(),
    module: (memory) => (module ??= new WebAssembly.Module(fromText(text(), memory) as BufferSource)),
  };
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
  const limit = memoryLimit(maxMemory);
  let memory: WebAssembly.Memory | undefined;
  let kernels: KernelExports;
  try {
    memory = new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum: limit / PAGE });
    kernels = new WebAssembly.Instance(build.module(memory), { env: { memory } })
      .exports as unknown as KernelExports;
  } catch (cause) {
    const lacks = hasSimd() ? build.lacks?.() : "SIMD; flashtile/reference works";
    if (lacks) {
      throw new FlashtileError("NO_SIMD", `this engine has no WebAssembly ${lacks} without it`, { cause });
    }
    if (memory) throw cause;
    throw new FlashtileError("NO_MEMORY", `memory: the engine refused a memory of at most ${limit} bytes`, {
      cause,
    });
  }
  // On zeros, until V8 takes the tile for hot (1.8 MB of its baseline code): optimized on another thread while JavaScript
  // is compiled on this one, it halves the kernels' part of a process's first call (1.6 → 0.8 ms) for 0.1 ms here.
  kernels.gemm_f32_4x8(WARM, WARM, 64, 128, 0, WARM, 0, 0, 0);
  return { name: build.name, kernels, arena: new Arena(memory, limit) };
}

/** Whole pages, at least one beyond the tables, at most what 32 bits address. */
export function memoryLimit(bytes: number): number {
  return Math.min(Math.max(Math.floor(bytes / PAGE), INITIAL_PAGES) * PAGE, MAX_MEMORY);
}
