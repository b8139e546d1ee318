/**
 * Tensors that live in a runtime's linear memory: written once, attended to often. Rows that lie as the kernels
 * read them are packed from where they are (stage.ts says which), others are staged like a caller's array.
 *
 * Memory that grows ends every view of it, so that callers get copies, and a view is made anew at each use.
 */
import { describe, oneOf } from "./check.ts";
import { lengths, sizeOf } from "./tensor.ts";
import { BYTES } from "./dtype.ts";
import type { Arena } from "./wasm/arena.ts";

/** What a {@link RuntimeTensor} holds; 16-bit floats are words. */
export type RuntimeDType = "float32" | "float16" | "bfloat16";

const DTYPES: readonly RuntimeDType[] = ["float32", "float16", "bfloat16"];

/**
 * A tensor in the memory of a runtime, made by `rt.tensor`: row-major, until freed or its runtime closed. Takes the place
 * of any {@link TensorInput}; operations of the same runtime read it where it is.
 *
 * @example
 * ```ts
 * import { createRuntime } from "flashtile";
 * const rt = await createRuntime();
 * const keys = rt.tensor([1, 2, 16, 8], "float32").write(new Float32Array(2 * 16 * 8).fill(1));
 * const { out } = await rt.attention(keys, keys, keys);
 * console.log(out.data[0], keys.read().length); // 1 256
 * keys.free();
 * rt.close();
 * ```
 */
export class RuntimeTensor {
  readonly shape: readonly number[];
  readonly dtype: RuntimeDType;
  readonly #arena: () => Arena | undefined;
  readonly #length: number;
  /** Its address; −1 once freed. */
  #at: number;

  /** @internal `arena` has none once the runtime is closed. */
  constructor(arena: () => Arena | undefined, shape: ArrayLike<number>, dtype: RuntimeDType = "float32") {
    this.dtype = oneOf("dtype", dtype, DTYPES);
    this.shape = lengths("shape", shape);
    this.#arena = arena;
    this.#length = sizeOf(this.shape);
    const bytes = this.#length * BYTES[dtype];
    this.#at = (arena() as Arena).pin(bytes);
    (arena() as Arena).u8(this.#at, bytes).fill(0);
  }

  /** A copy of the elements, as {@link RuntimeTensor.read}: whatever takes a tensor takes this one. */
  get data(): Float32Array | Uint16Array {
    return this.read();
  }

  /** @internal Where the elements are: tensor.ts, stage.ts. */
  get resident(): {
    readonly memory: WebAssembly.Memory;
    readonly at: number;
    readonly length: number;
    elements(): Float32Array | Uint16Array;
  } {
    const arena = this.#arena();
    if (!arena || this.#at < 0) {
      throw new Error(`tensor: used after ${arena ? "free" : "its runtime's close"}()`);
    }
    const { memory } = arena;
    const at = this.#at, length = this.#length;
    const Words = this.dtype === "float32" ? Float32Array : Uint16Array;
    return { memory, at, length, elements: () => new Words(memory.buffer, at, length) };
  }

  /**
   * Copies all elements in.
   *
   * @param data As many as the shape says: a Float32Array, or the words of 16-bit floats in a Uint16Array (or the
   *   engine's Float16Array).
   * @returns The tensor.
   * @throws {TypeError} Another kind of array. @throws {RangeError} Another length.
   */
  write(data: Float32Array | Uint16Array): this {
    const words = (data as unknown as { [Symbol.toStringTag]?: string } | null)?.[Symbol.toStringTag];
    const wanted = this.dtype === "float32" ? "Float32Array" : "Uint16Array";
    if (words !== wanted && !(words === "Float16Array" && this.dtype === "float16")) {
      throw new TypeError(`data: expected a ${wanted}, got ${words ?? describe(data)}`);
    }
    if (data.length !== this.#length) {
      throw new RangeError(`data: expected ${this.#length} elements for [${this.shape}], got ${data.length}`);
    }
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    new Uint8Array(this.resident.memory.buffer).set(bytes, this.#at);
    return this;
  }

  /** All elements, in an array of the caller's own. */
  read(): Float32Array | Uint16Array {
    return this.resident.elements().slice();
  }

  /**
   * Gives its memory back to the runtime; not before the promises of calls that read it have settled. Freeing twice is
   * fine, as is closing the runtime without.
   */
  free(): void {
    this.#arena()?.unpin(this.#at);
    this.#at = -1;
  }

  /** `using`: frees. */
  [Symbol.dispose](): void {
    this.free();
  }
}
