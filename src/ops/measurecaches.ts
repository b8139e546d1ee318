/**
 * The data caches of this core, measured in less than 50 ms: how long a chain of dependent loads takes in working
 * sets of growing size. The chain visits every 64-byte line once in random order, so that nothing can be prefetched,
 * and each size counts its fastest of several short runs. What the numbers mean is src/plan/machine.ts's business.
 */
import { type Caches, cachesOf, isComplete, type Latency } from "../plan/machine.ts";

const LINE = 64;
/** 16 KiB to 8 MiB. */
const SIZES = Array.from({ length: 19 }, (_, x) => 2 ** (14 + (x >> 1)) * (x & 1 ? 1.5 : 1));
const RUNS = 3;
/** Ticks of the clock that a run should last, and milliseconds it should last at least. */
const TICKS = 5;
const SHORTEST = 0.05;
/** Milliseconds a tick may take. */
const COARSEST = 0.11;

// (module
//   (memory (export "memory") 129)
//   (func (export "chase") (param $at i32) (param $n i32) (result i32)
//     (loop $l
//       (local.set $at (i32.load (i32.load (i32.load (i32.load (local.get $at))))))
//       (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
//     (local.get $at)))
const CHASE = [
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 5, 4, 1, 0, 129, 1],
  ...[7, 18, 2, 6, 109, 101, 109, 111, 114, 121, 2, 0, 5, 99, 104, 97, 115, 101, 0, 0],
  ...[10, 34, 1, 32, 0, 3, 64, 32, 0, 40, 2, 0, 40, 2, 0, 40, 2, 0, 40, 2, 0, 33, 0],
  ...[32, 1, 65, 1, 107, 34, 1, 13, 0, 11, 32, 0, 11],
];

/**
 * L1 and L2 of the core that runs this, or null where that cannot be known: the clock stands still (workerd) or is too
 * coarse, or the host compiles no code. Blocks for less than 50 ms; the answer is worth keeping.
 *
 * @param now A clock in milliseconds.
 * @param deadline Milliseconds; what has been seen by then must do. A quiet core needs 20.
 *
 * @example
 * ```ts
 * import { createRuntime } from "flashtile";
 * import { measureCaches, SMALL_CACHES } from "flashtile/plan";
 * const rt = await createRuntime({ caches: measureCaches() ?? SMALL_CACHES });
 * console.log(rt.kernels); // deterministic
 * rt.close();
 * ```
 */
export function measureCaches(
  now: () => number = () => performance.now(),
  deadline = 40,
): Caches | null {
  const tick = tickOf(now);
  if (tick === null) return null;
  const shortest = Math.max(SHORTEST, TICKS * tick);
  let chase: (at: number, quads: number) => number;
  let words: Int32Array;
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(CHASE)));
    chase = exports.chase as typeof chase;
    words = new Int32Array((exports.memory as WebAssembly.Memory).buffer);
  } catch {
    return null;
  }
  const start = now();
  const curve: Latency[] = [];
  // Four loads each; carried over, because a run must last as long as the one before.
  let quads = 1;
  let lines = 0;
  for (const bytes of SIZES) {
    growRing(words, lines, bytes / LINE);
    lines = bytes / LINE;
    const round = lines / 4;
    // Once round: into the cache, as far as it goes.
    let at = chase(0, round);
    quads = Math.max(quads, round);
    let ns = Infinity;
    for (let run = 0; run < RUNS;) {
      const before = now();
      at = chase(at, quads);
      const elapsed = now() - before;
      if (elapsed < shortest) {
        quads *= 2;
        continue;
      }
      run++;
      ns = Math.min(ns, elapsed / quads / 4 * 1e6);
      if (elapsed > 4 * shortest) quads = Math.max(round, quads >> 1);
      if (now() - start > deadline) return cachesOf(curve);
    }
    curve.push({ bytes, ns });
    if (isComplete(curve)) break;
  }
  return cachesOf(curve);
}

/** Smallest step of the clock in milliseconds, null if it is too coarse to be of use. */
function tickOf(now: () => number): number | null {
  let tick = Infinity;
  let last = now();
  const first = last;
  for (let calls = 0, steps = 0; calls < 1e5 && steps < 8; calls++) {
    const at = now();
    if (at === last) continue;
    tick = Math.min(tick, at - last);
    last = at;
    steps++;
    if (last - first > 4 * COARSEST) break;
  }
  return tick <= COARSEST ? tick : null;
}

/** Grows a random cycle through lines 0 … from − 1, each of which holds the address of the next, to lines 0 … to − 1. */
function growRing(words: Int32Array, from: number, to: number): void {
  let x = 88172645 ^ from;
  for (let line = from; line < to; line++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    // Behind a random line of those that are in it.
    const before = (x >>> 0) % Math.max(1, line) * LINE / 4;
    words[line * LINE / 4] = words[before];
    words[before] = line * LINE;
  }
}
