/**
 * Starting a worker, in each runtime's way:
 *
 *   workerUrl given           module worker of that URL       (pages whose CSP forbids blob:, `flashtile/worker`)
 *   a global Worker           module worker of a Blob URL     (browsers, Deno without permissions, Bun)
 *   node:worker_threads       the source itself, evaluated    (Node, which has no global Worker)
 *
 * The source travels inside the package as text (generated/worker.ts), so no bundler has to find a second file.
 */
import { source } from "./generated/worker.ts";

export interface Thread {
  postMessage(message: unknown): void;
  /** The worker's answer to the next message; rejects if the worker fails to load or dies. */
  next<T>(): Promise<T>;
  terminate(): void;
}

interface NodeWorker {
  postMessage(message: unknown): void;
  once(event: string, listener: (value: never) => void): void;
  removeAllListeners(): void;
  unref(): void;
  terminate(): Promise<number>;
}

interface NodeThreads {
  Worker: new (source: string | URL, options: { eval?: boolean }) => NodeWorker;
}

/** Why this environment has no shared-memory threads, or null if it has. */
export function threadsUnavailable(): string | null {
  if (typeof SharedArrayBuffer === "undefined") {
    return (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === false
      ? "the page is not cross-origin isolated (COOP and COEP headers)"
      : "there is no SharedArrayBuffer";
  }
  if (
    (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === false &&
    typeof document !== "undefined"
  ) {
    return "the page is not cross-origin isolated (COOP and COEP headers)";
  }
  if (typeof Worker === "undefined" && !nodeThreads()) return "there is no Worker";
  return null;
}

/** Throws what the runtime throws if it refuses a worker at once; later refusals reject `next`. */
export function spawn(workerUrl?: string | URL): Thread {
  if (typeof Worker === "function") return webThread(workerUrl);
  const threads = nodeThreads();
  if (!threads) throw new TypeError("worker: this runtime has neither Worker nor node:worker_threads");
  const worker = workerUrl === undefined
    ? new threads.Worker(source, { eval: true })
    : new threads.Worker(new URL(workerUrl), {});
  // A pool that was never closed must not keep the process alive.
  worker.unref();
  return {
    postMessage: (message) => worker.postMessage(message),
    next: () =>
      new Promise((resolve, reject) => {
        const settle =
          <T>(done: (value: T) => void) => (value: T) => (worker.removeAllListeners(), done(value));
        worker.once("message", settle(resolve) as never);
        worker.once("error", settle(reject) as never);
        worker.once(
          "exit",
          settle((code: number) => reject(new Error(`worker: exited with code ${code}`))) as never,
        );
      }),
    terminate: () => void worker.terminate(),
  };
}

function webThread(workerUrl?: string | URL): Thread {
  const url = workerUrl ?? URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  return {
    postMessage: (message) => worker.postMessage(message),
    next: () =>
      new Promise((resolve, reject) => {
        worker.onmessage = (event) => resolve(event.data);
        worker.onmessageerror = () => reject(new Error("worker: a message could not be read"));
        worker.onerror = (event) => {
          event.preventDefault?.();
          reject(new Error(`worker: ${event.message || "could not be loaded"}`));
        };
      }),
    terminate() {
      worker.terminate();
      if (workerUrl === undefined) URL.revokeObjectURL(url as string);
    },
  };
}

/** Node's threads without an import that bundlers would follow; present from Node 20.16. */
function nodeThreads(): NodeThreads | undefined {
  const host = (globalThis as { process?: { getBuiltinModule?(name: string): unknown } }).process;
  return host?.getBuiltinModule?.("node:worker_threads") as NodeThreads | undefined;
}
