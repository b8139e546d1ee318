/**
 * Long work as a generator that yields the share done, 0 to 1, every few milliseconds: run to the end at once, or in
 * slices between which the host breathes, an AbortSignal is looked at and progress is told.
 */
import { FlashtileError } from "../errors.ts";

export type Steps<T> = Generator<number, T>;

/** How long work may be watched and ended. */
export interface SliceOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the share done, 0 to 1, between slices. */
  readonly onProgress?: ((share: number) => void) | undefined;
}

/** A frame and a half: short enough that an abort is seen within 50 ms, a step being about 10. */
const SLICE_MS = 24;

export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** @throws FlashtileError ABORTED; whatever `onProgress` throws. In each case the steps are ended first. */
export async function finishInSlices<T>(steps: Steps<T>, { signal, onProgress }: SliceOptions): Promise<T> {
  try {
    let slice = performance.now();
    for (;;) {
      throwIfAborted(signal);
      const { done, value } = steps.next();
      if (done) {
        onProgress?.(1);
        return value;
      }
      if (performance.now() - slice < SLICE_MS) continue;
      onProgress?.(value);
      await breath();
      slice = performance.now();
    }
  } finally {
    steps.return(undefined as T);
  }
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new FlashtileError("ABORTED", "attention: aborted by its signal", { cause: signal.reason });
  }
}

/** Lets timers, messages and input have their turn; setTimeout would cost 1 to 4 ms each time. */
function breath(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === "function") setImmediate(resolve);
    else if (typeof MessageChannel === "function") {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(null);
    } else setTimeout(resolve, 0);
  });
}
