/** A back end by its name, each with memory of its own. */
import { instantiate } from "../wasm/load.ts";
import { deterministicFull, relaxedFull } from "../wasm/full.ts";
import type { Implementation, ImplementationName } from "./implementation.ts";
import { referenceImplementation } from "./reference.ts";
import { wasmImplementation } from "./wasm.ts";

/** @throws {FlashtileError} NO_SIMD: this engine cannot run the build. */
export function createImplementation(name: ImplementationName): Implementation<unknown> {
  if (name === "reference") return referenceImplementation() as Implementation<unknown>;
  return wasmImplementation(
    instantiate(name === "relaxed" ? relaxedFull : deterministicFull),
  ) as Implementation<
    unknown
  >;
}
