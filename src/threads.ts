/**
 * `flashtile/threads`: whether threads can work here, for those who want to know before they ask for them.
 *
 * @module flashtile/threads
 */
import { deterministic } from "./index.ts";
import { probeThreads, type ThreadSupport } from "./wasm/threads.ts";

export type { ThreadSupport } from "./wasm/threads.ts";

/** Where threads come from. */
export interface ThreadOptions {
  /** URL of `flashtile/worker`, for pages whose content security policy forbids blob: workers. */
  readonly workerUrl?: string | URL | undefined;
}

/**
 * Starts a worker, shares a memory with it and lets it run a kernel: the only proof that threads work here.
 *
 * @returns `available`, and if not, the `reason` in words: a page that is not cross-origin isolated, a policy that
 *   forbids blob: workers, a runtime without workers.
 *
 * @example
 * ```ts
 * import { threadSupport } from "flashtile/threads";
 * const { available, reason } = await threadSupport();
 * console.log(available ? "threads" : `one thread: ${reason}`); // threads
 * ```
 */
export function threadSupport({ workerUrl }: ThreadOptions = {}): Promise<ThreadSupport> {
  return probeThreads(deterministic, workerUrl);
}
