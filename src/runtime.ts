/**
 * A runtime: kernels, one memory, and the operations on it, as promises and (under `sync`) as plain calls.
 */
import { atLeastZero, count, describe, oneOf } from "./check.ts";
import type { FloatTensor, TensorInput } from "./tensor.ts";
import { floating, replaceViews } from "./geometry.ts";
import { attention, attentionSteps, unsupported } from "./ops/attention.ts";
import type { ForwardOptions } from "./ops/buffers.ts";
import { applyRotary } from "./ops/rotary.ts";
import { scores, type ScoreStage, STAGES } from "./ops/scores.ts";
import { softmax, type SoftmaxOptions } from "./ops/softmax.ts";
import { finishInSlices, type SliceOptions, type Steps } from "./ops/steps.ts";
import type { AttentionOptions } from "./options.ts";
import { type Plan, plan } from "./plan/index.ts";
import { type Caches, SMALL_CACHES } from "./plan/machine.ts";
import { shapeOf } from "./plan/shape.ts";
import { createProblem, type Problem } from "./problem.ts";
import type { AttentionResult } from "./result.ts";
import { type RuntimeDType, RuntimeTensor } from "./runtimetensor.ts";
import { createRotary, type RotaryTables } from "./rotary.ts";
import { deterministic } from "./wasm/deterministic.ts";
import { borrowEngine, returnEngine } from "./wasm/idle.ts";
import { type Engine, instantiate, type Kernels, MAX_MEMORY } from "./wasm/load.ts";

/** What {@link createRuntime} may be told. */
export interface RuntimeOptions {
  /** Which build runs: the deterministic one by default, or `relaxed` from "flashtile/relaxed". */
  readonly kernels?: Kernels;
  /** Bytes of WebAssembly memory this runtime may use, default 4 GiB, the most there is. */
  readonly maxMemory?: number;
  /**
   * Bytes of a core's data caches, which the tiles are sized to; `measureCaches()` of "flashtile/plan" finds them. By
   * default 32 KiB and 256 KiB. They change speed, never a bit.
   */
  readonly caches?: Caches;
}

/** The operations as blocking calls. */
export interface SyncOperations {
  /** See {@link attention}. */
  attention(q: TensorInput, k: TensorInput, v: TensorInput, options?: AttentionOptions): AttentionResult;
  /** See {@link Runtime.scores}. */
  scores(q: TensorInput, k: TensorInput, options?: ScoreOptions): FloatTensor;
  /** See {@link Runtime.softmax}. */
  softmax(x: TensorInput, options?: SoftmaxOptions): FloatTensor;
  /** See {@link Runtime.applyRotary}. */
  applyRotary(x: TensorInput, tables: RotaryTables): FloatTensor;
  /** See {@link Runtime.plan}. */
  plan(shapes: PlanShapes, options?: AttentionOptions): SyncPlan;
}

/** Shapes of the tensors that a plan will run on, in the layout of its options. */
export interface PlanShapes {
  readonly q: ArrayLike<number>;
  readonly k: ArrayLike<number>;
  readonly v: ArrayLike<number>;
}

/** Options and shapes checked, tiles chosen: `run` as often as you like. */
export interface AttentionPlan extends Plan {
  /** As {@link Runtime.attention} on tensors of the planned shapes. */
  run(q: TensorInput, k: TensorInput, v: TensorInput, slices?: SliceOptions): Promise<AttentionResult>;
}

/** A plan whose `run` blocks. */
export interface SyncPlan extends Plan {
  /** As {@link attention} on tensors of the planned shapes. */
  run(q: TensorInput, k: TensorInput, v: TensorInput): AttentionResult;
}

/** Options of {@link Runtime.scores}. */
export interface ScoreOptions extends AttentionOptions {
  /**
   * scale·q·k ("raw"), after the softcap ("capped"), with ALiBi, bias and −∞ where hidden ("biased", unless told), or
   * the softmax of that ("weights"). The first two know nothing of masks.
   */
  readonly stage?: ScoreStage;
}

/** Options of the asynchronous operations. */
export interface AsyncAttentionOptions extends AttentionOptions {
  /** Aborting rejects the promise with FlashtileError ABORTED within 50 ms of work. */
  readonly signal?: AbortSignal;
  /** Called now and then with the share done, from 0 to 1. */
  readonly onProgress?: (share: number) => void;
}

/**
 * Kernels with a memory of their own, until closed. Made by {@link createRuntime}.
 *
 * @example
 * ```ts
 * import { createRuntime } from "flashtile";
 * const rt = await createRuntime({ maxMemory: 2 ** 26 });
 * const x = { data: new Float32Array(2 * 16 * 8).fill(1), shape: [1, 2, 16, 8] };
 * const { out } = rt.sync.attention(x, x, x); // blocking; `await rt.attention(x, x, x)` lets the host breathe
 * console.log(rt.kernels, out.data[0], rt.memory <= 2 ** 26); // deterministic 1 true
 * rt.close();
 * ```
 */
export class Runtime {
  /** The same operations, blocking. */
  readonly sync: SyncOperations;
  readonly #build: Kernels;
  readonly #maxMemory: number;
  readonly #caches: Caches;
  #engine: Engine | null;
  /** Settles when the last asynchronous call so far has. */
  #queue: Promise<unknown> = Promise.resolve();
  #busy = false;

  /** @internal */
  constructor(options: RuntimeOptions = {}) {
    const { kernels = deterministic, maxMemory = MAX_MEMORY } = options;
    if (kernels === null || typeof kernels?.module !== "function") {
      throw new TypeError(`kernels: expected the kernels of flashtile/relaxed, got ${describe(kernels)}`);
    }
    this.#build = kernels;
    this.#maxMemory = atLeastZero("maxMemory", maxMemory);
    this.#caches = options.caches ? checkedCaches(options.caches) : SMALL_CACHES;
    this.#engine = borrowEngine(kernels, this.#maxMemory);
    this.sync = {
      attention: (q, k, v, options) => {
        const problem = kernelProblem(q, k, v, blocking(options));
        return this.#run((engine) => attention(engine, problem, { caches: this.#caches }));
      },
      scores: (q, k, options) => {
        const [problem, stage] = scoreProblem(q, k, blocking(options));
        return this.#run((engine) => scores(engine, problem, stage));
      },
      softmax: (x, options) => {
        const source = floating("x", x);
        return this.#run((engine) => softmax(engine, source, options));
      },
      applyRotary: (x, tables) => {
        const turn = createRotary(x, tables);
        return this.#run((engine) => applyRotary(engine, turn));
      },
      plan: (shapes, options) => {
        const [problem, numbers] = this.#planned(shapes, options);
        return {
          ...numbers,
          run: (q, k, v) => {
            const other = withTensors(problem, q, k, v);
            return this.#run((engine) => attention(engine, other, numbers.tiles));
          },
        };
      },
    };
  }

  /** "deterministic" or "relaxed". */
  get kernels(): Kernels["name"] {
    return this.#open().name;
  }

  /** Bytes of WebAssembly memory in existence; as large as the largest call so far needed. */
  get memory(): number {
    return this.#open().arena.size;
  }

  /**
   * As the module's `attention`, on this runtime's kernels and memory, in slices that let the host breathe. Calls run
   * one after the other, in order; tensors must not change until their promise settles.
   */
  async attention(
    q: TensorInput,
    k: TensorInput,
    v: TensorInput,
    options: AsyncAttentionOptions = {},
  ): Promise<AttentionResult> {
    this.#open();
    return await this.#inSlices(kernelProblem(q, k, v, options), { caches: this.#caches }, options);
  }

  /**
   * Checks options and shapes and chooses the tiles, once for many runs on tensors of these shapes. Tensors among the
   * options are read at each run.
   *
   * @param shapes Of q, k and v, in the layout of the options.
   * @returns `run(q, k, v)`, which resolves to what `attention` would, and what the planner counts on: `tiles`, `flops`,
   *   `bytes` delivered to the registers, to L1 and to L2, and `intensity`, flops per byte.
   * @throws {TypeError | RangeError} As `attention`; `run`, for tensors of other shapes.
   *
   * @example
   * ```ts
   * import { createRuntime } from "flashtile";
   * const rt = await createRuntime();
   * const shape = [1, 2, 16, 8];
   * const plan = rt.plan({ q: shape, k: shape, v: shape }, { causal: true });
   * const x = { data: new Float32Array(2 * 16 * 8).fill(1), shape };
   * const { out } = await plan.run(x, x, x);
   * console.log(plan.flops, out.data[0]); // 8704 1
   * rt.close();
   * ```
   */
  plan(shapes: PlanShapes, options?: AttentionOptions): AttentionPlan {
    const [problem, numbers] = this.#planned(shapes, options);
    return {
      ...numbers,
      run: async (q, k, v, slices = {}) =>
        await this.#inSlices(withTensors(problem, q, k, v), numbers.tiles, slices),
    };
  }

  /**
   * A tensor in this runtime's memory, of zeros until written: for what is attended to more than once.
   *
   * @param shape Of any rank, row-major.
   * @param dtype "float32" unless told, "float16" or "bfloat16".
   * @throws {RangeError} A wrong shape. @throws {FlashtileError} NO_MEMORY.
   */
  tensor(shape: ArrayLike<number>, dtype?: RuntimeDType): RuntimeTensor {
    this.#open();
    return new RuntimeTensor(() => this.#engine?.arena, shape, dtype);
  }

  #planned(shapes: PlanShapes, options?: AttentionOptions): [Problem, Plan] {
    this.#open();
    // One element stands for all: what counts is the shape.
    const blank = (shape: ArrayLike<number>) => ({
      data: new Float32Array(1),
      shape,
      strides: Array.from(shape ?? [], () => 0),
    });
    const problem = kernelProblem(blank(shapes.q), blank(shapes.k), blank(shapes.v), blocking(options));
    return [problem, plan(shapeOf(problem), this.#caches)];
  }

  async #inSlices(
    problem: Problem,
    how: ForwardOptions,
    { signal, onProgress }: SliceOptions,
  ): Promise<AttentionResult> {
    if (signal !== undefined && typeof signal?.aborted !== "boolean") {
      throw new TypeError(`signal: expected an AbortSignal, got ${describe(signal)}`);
    }
    if (onProgress !== undefined && typeof onProgress !== "function") {
      throw new TypeError(`onProgress: expected a function, got ${describe(onProgress)}`);
    }
    return await this.#enqueue((engine) =>
      finishInSlices(this.#whileOpen(attentionSteps(engine, problem, how)), { signal, onProgress })
    );
  }

  /**
   * The matrix between the two products of attention, [B,H,N,M] in float32, at one of its stages.
   *
   * @param options As `attention`, and `stage`.
   * @throws {RangeError} As `attention`.
   */
  async scores(q: TensorInput, k: TensorInput, options: ScoreOptions = {}): Promise<FloatTensor> {
    const [problem, stage] = scoreProblem(q, k, blocking(options));
    return await this.#enqueue((engine) => scores(engine, problem, stage));
  }

  /**
   * Softmax along an axis, or its logarithm: any shape, float32 out.
   *
   * @throws {RangeError} An axis that isn't there, or float64.
   */
  async softmax(x: TensorInput, options: SoftmaxOptions = {}): Promise<FloatTensor> {
    const source = floating("x", x);
    return await this.#enqueue((engine) => softmax(engine, source, options));
  }

  /** Rotary position embedding, as `applyRotary` of flashtile/reference; float32 out. */
  async applyRotary(x: TensorInput, tables: RotaryTables): Promise<FloatTensor> {
    const turn = createRotary(x, tables);
    return await this.#enqueue((engine) => applyRotary(engine, turn));
  }

  /**
   * Gives the memory back. A call that is still running rejects. Closing twice is fine, every other call afterwards
   * throws.
   */
  close(): void {
    // A running call still writes to its engine and returns it when it ends.
    if (this.#engine && !this.#busy) returnEngine(this.#engine);
    this.#engine = null;
  }

  /** `using`: closes. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** `await using`: closes. */
  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  #open(): Engine {
    if (!this.#engine) throw new Error("runtime: used after close()");
    return this.#engine;
  }

  *#whileOpen<T>(steps: Steps<T>): Steps<T> {
    try {
      for (;;) {
        this.#open();
        const { done, value } = steps.next();
        if (done) return value;
        yield value;
      }
    } finally {
      steps.return(undefined as T);
    }
  }

  /** After the calls before it; whoever closes in between gets the engine returned when this one ends. */
  async #enqueue<T>(run: (engine: Engine) => T | Promise<T>): Promise<T> {
    this.#open();
    const call = this.#queue.then(async () => {
      const engine = this.#open();
      this.#busy = true;
      try {
        return await run(engine);
      } finally {
        this.#busy = false;
        if (!this.#engine) returnEngine(engine);
      }
    });
    this.#queue = call.catch(() => {});
    return await call;
  }

  /** At once. */
  #run<T>(run: (engine: Engine) => T): T {
    const engine = this.#open();
    if (!this.#busy) return run(engine);
    // Between two slices of an asynchronous call, which holds this runtime's engine.
    const other = borrowEngine(this.#build, this.#maxMemory);
    try {
      return run(other);
    } finally {
      returnEngine(other);
    }
  }
}

/**
 * Creates a runtime: its own kernels and memory, to be closed when no longer needed.
 *
 * @throws {FlashtileError} NO_SIMD if the engine cannot run the kernels, NO_MEMORY if it has no memory to give.
 *
 * @example
 * ```ts
 * import { createRuntime } from "flashtile";
 * const rt = await createRuntime();
 * const x = { data: new Float32Array(2 * 16 * 8).fill(1), shape: [1, 2, 16, 8] };
 * const { out } = await rt.attention(x, x, x, { causal: true });
 * console.log(out.shape, out.data[0]); // [ 1, 2, 16, 8 ] 1
 * rt.close();
 * ```
 */
export function createRuntime(options?: RuntimeOptions): Promise<Runtime> {
  // A promise from the first day: threads will need it.
  return Promise.resolve().then(() => new Runtime(options));
}

function kernelProblem(q: TensorInput, k: TensorInput, v: TensorInput, options?: AttentionOptions): Problem {
  return supported(createProblem(q, k, v, options));
}

function supported(problem: Problem): Problem {
  const missing = unsupported(problem);
  if (missing) {
    throw new RangeError(`${missing}: not available in the kernels; flashtile/reference computes it`);
  }
  return problem;
}

/** A planned problem for the tensors of one run. */
function withTensors(problem: Problem, q: TensorInput, k: TensorInput, v: TensorInput): Problem {
  return supported({ ...problem, ...replaceViews(problem, q, k, v) });
}

function checkedCaches({ l1, l2 }: Caches): Caches {
  return { l1: count("caches.l1", l1), l2: count("caches.l2", l2) };
}

/** @throws RangeError for what only an asynchronous call can have. */
function blocking<T extends AttentionOptions>(options?: T): T | undefined {
  for (const name of ["signal", "onProgress"] as const) {
    if (options && (options as AsyncAttentionOptions)[name] !== undefined) {
      throw new RangeError(`${name}: a blocking call or a plan has none; use the promises of a runtime`);
    }
  }
  return options;
}

function scoreProblem(q: TensorInput, k: TensorInput, options: ScoreOptions = {}): [Problem, ScoreStage] {
  const { stage = "biased", ...rest } = options;
  // No V is needed; k has its axes.
  const problem = kernelProblem(q, k, k, rest);
  return [problem, oneOf("stage", stage, STAGES)];
}

let shared: Engine | undefined;

/**
 * Exact attention, softmax(scale·QKᵀ)V, in float32 on the deterministic kernels: the same bits on every runtime.
 *
 * Blocks until done, on one thread. Takes float32, float16 and bfloat16 tensors in any layout and stride, needs O(N)
 * memory, and never writes to its inputs. 4·B·H·N·M·D flops, half of that if causal with N = M.
 *
 * @param q Queries, [B,H,N,D] unless `layout` says otherwise.
 * @param k Keys, [B,G,M,D]; G divides H, query head h reads key/value head ⌊h·G/H⌋.
 * @param v Values, [B,G,M,E].
 * @param options All optional; see {@link AttentionOptions}.
 * @returns `out` [B,H,N,E] in the layout of q, float32 unless `out` says otherwise; with `lse: true` also `lse` [B,H,N]
 *   ([H,total] with "thd"), float32.
 * @throws {TypeError} A wrong kind of thing.
 * @throws {RangeError} A wrong value or shape; the message names the argument.
 * @throws {FlashtileError} NO_SIMD or NO_MEMORY.
 *
 * @example
 * ```ts
 * import { attention } from "flashtile";
 * const q = { data: new Float32Array([1, 0]), shape: [1, 1, 1, 2] };
 * const k = { data: new Float32Array([0, 1, 0, 2]), shape: [1, 1, 2, 2] };
 * const v = { data: new Float32Array([1, 3]), shape: [1, 1, 2, 1] };
 * console.log(attention(q, k, v).out.data[0]); // 2
 * ```
 */
export function attentionSync(
  q: TensorInput,
  k: TensorInput,
  v: TensorInput,
  options?: AttentionOptions,
): AttentionResult {
  shared ??= instantiate(deterministic);
  return attention(shared, kernelProblem(q, k, v, blocking(options)));
}
