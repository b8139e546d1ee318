/** Can this environment run kernels on a second thread over one memory? Found by doing it. */
import { MAX_MEMORY } from "./load.ts";
import type { Kernels } from "./load.ts";
import { PAGE } from "./arena.ts";
import { shared } from "./share.ts";
import { spawn, threadsUnavailable } from "./spawn.ts";
import type { HelloReply, HelloRequest } from "./worker.ts";

/** Whether threads work here. */
export interface ThreadSupport {
  readonly available: boolean;
  /** Why not, in words for a user; empty if available. */
  readonly reason: string;
}

const HELLO = 0x666c6173;
/** A worker takes 31–45 ms to start; one that says nothing for this long never will. */
const PATIENCE_MS = 10_000;

/** Two threads, one memory: a worker instantiates the kernels over it and writes a word that this thread reads. */
export async function probeThreads(kernels: Kernels, workerUrl?: string | URL): Promise<ThreadSupport> {
  const missing = threadsUnavailable();
  if (missing) return { available: false, reason: missing };
  const bytes = kernels.bytes?.();
  if (!bytes) return { available: false, reason: "the kernels were compiled ahead of time for one thread" };
  let thread;
  let timer;
  try {
    const module = new WebAssembly.Module(shared(bytes) as BufferSource);
    const memory = new WebAssembly.Memory({ initial: 2, maximum: MAX_MEMORY / PAGE, shared: true });
    thread = spawn(workerUrl);
    const answer = thread.next<HelloReply>();
    const silence = new Promise<HelloReply>((_, reject) => {
      timer = setTimeout(() => reject(new Error("worker: no answer")), PATIENCE_MS);
    });
    thread.postMessage({ hello: { module, memory, at: PAGE, value: HELLO } } satisfies HelloRequest);
    const reply = await Promise.race([answer, silence]);
    if (reply.error) throw new Error(`worker: ${reply.error.name}: ${reply.error.message}`);
    const ran = reply.hello === (kernels.name === "relaxed" ? 1 : 0);
    const seen = new Int32Array(memory.buffer)[PAGE >> 2] === HELLO;
    if (!ran || !seen) throw new Error("worker: the memory is not shared");
    return { available: true, reason: "" };
  } catch (cause) {
    return { available: false, reason: cause instanceof Error ? cause.message : String(cause) };
  } finally {
    clearTimeout(timer);
    thread?.terminate();
  }
}
