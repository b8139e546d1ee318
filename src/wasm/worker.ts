/**
 * What runs on a thread. Bundled by tools/build.js into one script with no imports, valid as a classic script, a module
 * and CommonJS alike, because every runtime starts workers in its own way (spawn.ts).
 *
 * Protocol: {hello: {module, memory, at, value}} → the kernels are instantiated over the shared memory, `value` is
 * stored at byte `at` and waiters are woken; the answer {hello: relaxed()} shows that a kernel ran.
 */

export interface HelloRequest {
  readonly hello: {
    readonly module: WebAssembly.Module;
    readonly memory: WebAssembly.Memory;
    readonly at: number;
    readonly value: number;
  };
}
export interface HelloReply {
  readonly hello?: number;
  readonly error?: { readonly name: string; readonly message: string; readonly stack: string };
}

interface Port {
  postMessage(message: HelloReply): void;
  onmessage?: ((event: { data: HelloRequest }) => void) | null;
  on?(event: "message", listener: (data: HelloRequest) => void): void;
}

/** Web workers have a global scope that is a port; Node's have one in a module. */
const web = globalThis as unknown as Port & {
  process: { getBuiltinModule(name: string): { parentPort: Port } };
};
const port: Port = typeof web.postMessage === "function"
  ? web
  : web.process.getBuiltinModule("node:worker_threads").parentPort;

function answer({ hello: { module, memory, at, value } }: HelloRequest): HelloReply {
  try {
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    const words = new Int32Array(memory.buffer);
    Atomics.store(words, at >> 2, value);
    Atomics.notify(words, at >> 2);
    return { hello: (exports as unknown as { relaxed(): number }).relaxed() };
  } catch (cause) {
    const { name, message, stack = "" } = cause as Error;
    return { error: { name, message, stack } };
  }
}

if (port.on) port.on("message", (data) => port.postMessage(answer(data)));
else port.onmessage = ({ data }) => port.postMessage(answer(data));
