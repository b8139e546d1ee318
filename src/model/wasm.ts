/**
 * The back end of the WebAssembly kernels: float32 at addresses of one engine's memory, which the model owns. Weights
 * are packed once; activations are blocks of the arena's stack, given back after each pass.
 */
import { attention, unsupported } from "../ops/attention.ts";
import { decode_p } from "../ops/decode.ts";
import { attention_p } from "../ops/resident.ts";
import { add_p, silu_p } from "../ops/silu.ts";
import { linear_p, packWeights } from "../ops/linear.ts";
import { rmsnorm_p } from "../ops/rmsnorm.ts";
import { rotary_p } from "../ops/rotary.ts";
import type { AttentionOptions } from "../options.ts";
import { createProblem } from "../problem.ts";
import { elementReader, rowMajor, type TensorInput } from "../tensor.ts";
import type { FileTensor } from "../io/tensor.ts";
import type { KernelExports } from "../wasm/exports.ts";
import type { Engine } from "../wasm/load.ts";
import type { Implementation } from "./implementation.ts";

export function wasmImplementation(fresh: Engine): Implementation<number> {
  const kernels = new Set<string>();
  const engine = recording(fresh, kernels);
  const { arena } = engine;
  /** 0, 1, 2, … as int32. */
  let positions = 0;

  const floats = (values: Float32Array) => {
    const at = arena.alloc(values.byteLength);
    arena.f32(at, values.length).set(values);
    return at;
  };
  const vector = (tensor: FileTensor) => floats(toFloat32(tensor));

  function onArrays(
    engine: Engine,
    q: TensorInput,
    k: TensorInput,
    v: TensorInput,
    options: AttentionOptions,
  ) {
    const problem = createProblem(q, k, v, options);
    const missing = unsupported(problem);
    if (missing) {
      throw new RangeError(`${missing}: not available in the kernels; back end reference computes it`);
    }
    return attention(engine, problem);
  }

  return {
    name: fresh.name,
    kernels,
    elementBytes: 4,
    allocate: (length) => arena.alloc(length * 4),
    scratch(work) {
      const mark = arena.mark();
      try {
        return work();
      } finally {
        arena.release(mark);
      }
    },
    part: (x, index) => x + index * 4,
    read: (x, length) => arena.f32(x, length).slice(),
    vector,
    linearWeights({ weight, bias }) {
      const [out, depth] = weight.shape;
      const { data, dtype } = weight;
      const packed = dtype === "float16" || dtype === "bfloat16"
        ? packWeights(engine, data as Uint16Array, out, depth, dtype)
        : packWeights(engine, toFloat32(weight), out, depth);
      return { weight: packed, bias: bias && vector(bias), out, depth };
    },
    angles({ cos, sin, positions: count }) {
      positions = arena.alloc(count * 4);
      arena.i32(positions, count).set(Int32Array.from({ length: count }, (_, i) => i));
      return { cos: floats(Float32Array.from(cos)), sin: floats(Float32Array.from(sin)) };
    },
    embed(table, tokens, width, x) {
      const memory = arena.u8(0, arena.size);
      const row = width * 4;
      tokens.forEach((token, i) => {
        memory.copyWithin(x + i * row, table + token * row, table + (token + 1) * row);
      });
    },
    rmsNorm: (x, gain, rows, width, eps, y) => rmsnorm_p(engine, x, gain, y, rows, width, eps),
    linear(x, { weight, bias, out, depth }, rows, y) {
      linear_p(engine, x, weight, y, rows, depth, out);
      if (bias === null) return;
      for (let i = 0; i < rows; i++) add_p(engine, y + i * out * 4, bias, y + i * out * 4, out);
    },
    rotate(x, { cos, sin }, tokens, heads, width, first) {
      rotary_p(engine, {
        x_p: x,
        cos_p: cos,
        sin_p: sin,
        positions_p: positions + first * 4,
        tokens,
        heads,
        width,
      });
    },
    attention: (q, k, v, options) => onArrays(fresh, q, k, v, options),
    attend(q_p, k_p, v_p, { recipe, ...shape }, out_p) {
      if (recipe !== null) {
        const { N, M, H, G, D } = shape;
        // Out of the arena and back: 8·(N·H + M·G)·D bytes, against 4·N·M·H·D operations.
        const rows = (at: number, n: number, heads: number) => ({
          data: arena.f32(at, n * heads * D).slice(),
          shape: [1, n, heads, D],
        });
        const options = { layout: "bnhd", causal: true, align: "bottom-right", precision: recipe } as const;
        const { out } = onArrays(engine, rows(q_p, N, H), rows(k_p, M, G), rows(v_p, M, G), options);
        arena.f32(out_p, N * H * D).set(out.data as Float32Array);
        return;
      }
      // Packing K and V pays from a few queries on; a single one reads the cache where it lies.
      const attend = shape.N === 1 ? decode_p : attention_p;
      attend(engine, { q_p, k_p, v_p, out_p, ...shape });
    },
    add: (x, y, count) => add_p(engine, x, y, x, count),
    gate: (gate, up, count) => silu_p(engine, gate, up, gate, count),
  };
}

/** The same engine; every kernel of attention and of the layers leaves its name when it is called. */
function recording(engine: Engine, used: Set<string>): Engine {
  const kernels: Record<string, unknown> = {};
  for (const [name, kernel] of Object.entries(engine.kernels) as [string, (...args: number[]) => number][]) {
    kernels[name] = !/_(f32|i16)$/.test(name) ? kernel : (...args: number[]) => {
      used.add(name);
      return kernel(...args);
    };
  }
  return { ...engine, kernels: kernels as unknown as KernelExports };
}

function toFloat32({ data, dtype, shape }: FileTensor): Float32Array {
  if (data instanceof Float32Array) return data;
  const read = elementReader({ data, dtype, shape, strides: rowMajor(shape), offset: 0 });
  return Float32Array.from({ length: data.length }, (_, i) => read(i));
}
