/**
 * Engines that were given back, kept for the next who asks. Collectors take WebAssembly memories late or never
 * (10,000 runtimes created and closed would hold gigabytes), so small ones are reused and large ones dropped.
 */
import { Arena } from "./arena.ts";
import { type Engine, instantiate, type Kernels, MAX_MEMORY, memoryLimit } from "./load.ts";

const MOST = 4;
/** A memory above this is worth giving back to the collector. */
const LARGEST = 2 ** 24;

const idle: Engine[] = [];

/** An engine of this build whose arena hands out at most `maxMemory` bytes. */
export function borrowEngine(build: Kernels, maxMemory: number = MAX_MEMORY): Engine {
  const limit = memoryLimit(maxMemory);
  const at = idle.findIndex((engine) => engine.name === build.name && engine.arena.size <= limit);
  // Memories are declared without a limit of their own, so that any runtime can take over any of them.
  const engine = at < 0 ? instantiate(build) : idle.splice(at, 1)[0];
  return { ...engine, arena: new Arena(engine.arena.memory, limit) };
}

/** The caller keeps no reference to the engine. */
export function returnEngine(engine: Engine): void {
  if (idle.length < MOST && engine.arena.size <= LARGEST) idle.push(engine);
}
