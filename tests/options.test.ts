/** The door: every option × wrong kind, shape, range, with class and message; and what else it lets in. */
import { describe, expect, it } from "vitest";
import { createProblem } from "../src/problem.ts";
import { attention, type AttentionOptions, type TensorInput } from "../src/reference/index.ts";
import { normal } from "./support/tensors.ts";
import { expectThrow } from "./support/throws.ts";

const B = 2, H = 4, G = 2, N = 3, M = 5, D = 6, E = 7;
const q = normal(1, [B, H, N, D]);
const k = normal(2, [B, G, M, D]);
const v = normal(3, [B, G, M, E]);
const tq = normal(1, [9, H, D]);
const tk = normal(2, [8, G, D]);
const tv = normal(3, [8, G, E]);

const f32 = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape });
const bool = (...shape: number[]) => ({
  data: new Uint8Array(shape.reduce((a, b) => a * b, 1)),
  shape,
  dtype: "bool",
});
const words = (...shape: number[]) => ({ data: new Uint16Array(shape.reduce((a, b) => a * b, 1)), shape });

type Row = [what: unknown, Class: typeof TypeError | typeof RangeError, message: string];

/** Each value of one option, in an otherwise good call. */
function refuses(option: string, rows: Row[], context: AttentionOptions = {}): void {
  describe(option, () => {
    for (const [value, Class, message] of rows) {
      it(`${show(value)}: ${message}`, () => {
        const options = { ...context, [option]: value } as AttentionOptions;
        const packed = context.layout === "thd";
        expectThrow(
          () => createProblem(packed ? tq : q, packed ? tk : k, packed ? tv : v, options),
          Class,
          message,
        );
      });
    }
  });
}

/** Each value in place of a tensor. */
function refusesTensor(name: "q" | "k" | "v", rows: Row[], context: AttentionOptions = {}): void {
  describe(`${name}${context.layout ? `, ${context.layout}` : ""}`, () => {
    for (const [value, Class, message] of rows) {
      it(`${show(value)}: ${message}`, () => {
        const good = context.layout === "thd"
          ? { q: tq, k: tk, v: tv }
          : context.layout === "bnhd"
          ? { q: f32(B, N, H, D), k: f32(B, M, G, D), v: f32(B, M, G, E) }
          : { q, k, v };
        const { q: a, k: b, v: c } = { ...good, [name]: value } as Record<"q" | "k" | "v", TensorInput>;
        expectThrow(() => createProblem(a, b, c, context), Class, message);
      });
    }
  });
}

function show(value: unknown): string {
  if (typeof value === "bigint" || typeof value === "symbol") return String(value);
  return JSON.stringify(value, (_, x) => ArrayBuffer.isView(x) ? x.constructor.name : x)?.slice(0, 60) ??
    String(value);
}

refusesTensor("q", [
  [null, TypeError, "q: expected a tensor {data, shape}, got null"],
  [undefined, TypeError, "q: expected a tensor {data, shape}, got undefined"],
  [7, TypeError, "q: expected a tensor {data, shape}, got 7"],
  ["q", TypeError, 'q: expected a tensor {data, shape}, got "q"'],
  [{ data: [1, 2], shape: [2] }, TypeError, "q.data: expected a typed array, got Array"],
  [{ shape: [2] }, TypeError, "q.data: expected a typed array, got undefined"],
  [{ data: new Float32Array(2) }, TypeError, "q.shape: expected an array of numbers, got undefined"],
  [{ data: new Float32Array(2), shape: 2 }, TypeError, "q.shape: expected an array of numbers, got 2"],
  [
    { data: new Float32Array(2), shape: [1.5] },
    RangeError,
    "q.shape[0]: expected an integer from 0 to 1073741824, got 1.5",
  ],
  [
    { data: new Float32Array(2), shape: [1, -2] },
    RangeError,
    "q.shape[1]: expected an integer from 0 to 1073741824, got -2",
  ],
  [f32(B, H, N), RangeError, "q: expected [B,H,N,D], got [2,4,3]"],
  [f32(B, H, N, D, 1), RangeError, "q: expected [B,H,N,D], got [2,4,3,6,1]"],
  [f32(B, H, N, 0), RangeError, "q: expected a head width D ≥ 1, got 0"],
  [f32(...new Array(9).fill(1)), RangeError, "q.shape: expected at most 8 axes, got 9"],
  [{ data: new Int32Array(6), shape: [1, 1, 1, 6] }, TypeError, "q: expected a floating dtype, got int32"],
  [words(B, H, N, D), TypeError, "q: expected dtype float16 or bfloat16 with a Uint16Array, got undefined"],
  [
    { ...f32(B, H, N, D), dtype: "float16" },
    TypeError,
    "q: expected dtype float32 with a Float32Array, got float16",
  ],
  [
    { data: new Float32Array(9), shape: [B, H, N, D] },
    RangeError,
    "q: expected data for shape [2,4,3,6] (elements 0 to 143), got 9",
  ],
  [{ ...f32(B, H, N, D), strides: [1, 2] }, RangeError, "q.strides: expected 4 strides, got 2"],
  [
    { ...f32(B, H, N, D), strides: [72, 18, 6, 2] },
    RangeError,
    "q: expected data for shape [2,4,3,6] (elements 0 to 148), got 144",
  ],
  [
    { ...f32(B, H, N, D), strides: [72, 18, -6, 1] },
    RangeError,
    "q: expected data for shape [2,4,3,6] (elements -12 to 131), got 144",
  ],
  [
    { ...f32(B, H, N, D), offset: 1 },
    RangeError,
    "q: expected data for shape [2,4,3,6] (elements 1 to 144), got 144",
  ],
  [
    { ...f32(B, H, N, D), offset: -1 },
    RangeError,
    "q.offset: expected an integer from 0 to 9007199254740991, got -1",
  ],
  [
    { ...f32(B, H, N, D), location: "gpu-buffer" },
    TypeError,
    "q: expected a tensor in CPU memory, got one on gpu-buffer; download it first (await tensor.getData())",
  ],
]);

refusesTensor("k", [
  [f32(B, G, M), RangeError, "k: expected [B,G,M,D] with B=2, D=6, got [2,2,5]"],
  [f32(3, G, M, D), RangeError, "k: expected [B,G,M,D] with B=2, D=6, got [3,2,5,6]"],
  [f32(B, G, M, 4), RangeError, "k: expected [B,G,M,D] with B=2, D=6, got [2,2,5,4]"],
  [
    { ...f32(B, G, M, D), dtype: "int8" },
    TypeError,
    "k: expected dtype float32 with a Float32Array, got int8",
  ],
]);

refusesTensor("v", [
  [f32(B, G, M), RangeError, "v: expected [B,G,M,E] with B=2, G=2, M=5, got [2,2,5]"],
  [f32(B, G, 4, E), RangeError, "v: expected [B,G,M,E] with B=2, G=2, M=5, got [2,2,4,7]"],
  [f32(B, 1, M, E), RangeError, "v: expected [B,G,M,E] with B=2, G=2, M=5, got [2,1,5,7]"],
]);

refusesTensor("k", [
  [f32(B, G, M, D), RangeError, "v: expected [B,M,G,E] with B=2, M=2, G=5, got [2,5,2,7]"],
  [f32(B, M, G, 5), RangeError, "k: expected [B,M,G,D] with B=2, D=6, got [2,5,2,5]"],
], { layout: "bnhd" });

const cuSeqlens = { q: [0, 3, 9], k: [0, 4, 8] };
const thd = { layout: "thd", cuSeqlens } as const;

refusesTensor("q", [[f32(1, 9, H, D), RangeError, "q: expected [total,H,D], got [1,9,4,6]"]], thd);
refusesTensor("k", [
  [f32(8, G, 5), RangeError, "k: expected [total,G,D] with D=6, got [8,2,5]"],
  [f32(7, G, D), RangeError, "v: expected [total,G,E] with total=7, G=2, got [8,2,7]"],
], thd);

describe("heads", () => {
  it("G divides H", () => {
    expectThrow(
      () => createProblem(q, f32(B, 3, M, D), f32(B, 3, M, E)),
      RangeError,
      "k: expected key/value heads G that divide H=4, got G=3",
    );
    expectThrow(
      () => createProblem(q, f32(B, 0, M, D), f32(B, 0, M, E)),
      RangeError,
      "k: expected key/value heads G that divide H=4, got G=0",
    );
    expectThrow(
      () => createProblem(q, f32(B, 8, M, D), f32(B, 8, M, E)),
      RangeError,
      "k: expected key/value heads G that divide H=4, got G=8",
    );
  });

  it("at most 2^30 queries and keys", () => {
    const many = { data: new Float32Array(1), shape: [1, 1, 2 ** 30 + 1, 1], strides: [0, 0, 0, 0] };
    expectThrow(
      () => createProblem(many, f32(1, 1, 1, 1), f32(1, 1, 1, 1)),
      RangeError,
      "q.shape[2]: expected an integer from 0 to 1073741824, got 1073741825",
    );
  });
});

describe("options", () => {
  it("is an object with known names", () => {
    expectThrow(() => attention(q, k, v, null as never), TypeError, "options: expected an object, got null");
    expectThrow(() => attention(q, k, v, 3 as never), TypeError, "options: expected an object, got 3");
    expectThrow(
      () => attention(q, k, v, { isCausal: true } as never),
      TypeError,
      "isCausal: no such option; there are scale, causal, align, window, sinkTokens, chunk, softcap, bias, mask, " +
        "alibiSlopes, sink, keyLengths, cuSeqlens, layout, semantics, dropout, out, lse, probabilities, precision, " +
        "signal, onProgress",
    );
  });

  it("that are undefined are absent", () => {
    const names = ["scale", "causal", "align", "window", "sinkTokens", "chunk", "softcap", "bias", "mask"];
    const more = [
      "alibiSlopes",
      "sink",
      "keyLengths",
      "cuSeqlens",
      "layout",
      "semantics",
      "dropout",
      "out",
      "lse",
    ];
    const options = Object.fromEntries([...names, ...more, "probabilities"].map((name) => [name, undefined]));
    expect(attention(q, k, v, options as AttentionOptions)).toEqual(attention(q, k, v));
  });
});

for (const name of ["scale", "softcap"]) {
  refuses(name, [
    ["1", TypeError, `${name}: expected a finite number, got "1"`],
    [true, TypeError, `${name}: expected a finite number, got true`],
    [NaN, RangeError, `${name}: expected a finite number, got NaN`],
    [Infinity, RangeError, `${name}: expected a finite number, got Infinity`],
  ]);
}
refuses("softcap", [[-1, RangeError, "softcap: expected a number ≥ 0, got -1"]]);

for (const name of ["causal", "lse", "probabilities"]) {
  refuses(name, [
    [1, TypeError, `${name}: expected false, true, got 1`],
    ["true", TypeError, `${name}: expected false, true, got "true"`],
    [null, TypeError, `${name}: expected false, true, got null`],
  ]);
}

refuses("align", [
  ["left", RangeError, 'align: expected "top-left", "bottom-right" or {offset}, got "left"'],
  [3, TypeError, 'align: expected "top-left", "bottom-right" or {offset}, got 3'],
  [{}, TypeError, "align.offset: expected a number or [B] as an array or tensor, got undefined"],
  [{ offset: "3" }, TypeError, 'align.offset: expected a number or [B] as an array or tensor, got "3"'],
  [{ offset: null }, TypeError, "align.offset: expected a number or [B] as an array or tensor, got null"],
  [{ offset: [1] }, RangeError, "align.offset: expected a number or [B] = [2], got [1]"],
  [
    { offset: [1, 0.5] },
    RangeError,
    "align.offset[1]: expected an integer from -1073741824 to 1073741824, got 0.5",
  ],
  [
    { offset: 2 ** 31 },
    RangeError,
    "align.offset: expected an integer from -1073741824 to 1073741824, got 2147483648",
  ],
  [{ offset: NaN }, RangeError, "align.offset: expected an integer from -1073741824 to 1073741824, got NaN"],
]);

refuses("window", [
  [5, TypeError, "window: expected [left, right], got 5"],
  ["5", TypeError, 'window: expected [left, right], got "5"'],
  [new Float32Array(2), TypeError, "window: expected [left, right], got Float32Array"],
  [[5], RangeError, "window: expected [left, right], got [5]"],
  [[1, 2, 3], RangeError, "window: expected [left, right], got [1,2,3]"],
  [[1, "2"], TypeError, 'window[1]: expected an integer ≥ 0, or null or −1 for open, got "2"'],
  [[-2, 0], RangeError, "window[0]: expected an integer ≥ 0, or null or −1 for open, got -2"],
  [[0, 1.5], RangeError, "window[1]: expected an integer ≥ 0, or null or −1 for open, got 1.5"],
  [[NaN, 1], RangeError, "window[0]: expected an integer ≥ 0, or null or −1 for open, got NaN"],
  [[[1, 2]], RangeError, "window: expected one per head (H=4), got 1"],
  [[[1, 2], [1, 2], [1, 2], 3], TypeError, "window: expected [left, right], got 3"],
]);

refuses("sinkTokens", [
  ["1", TypeError, 'sinkTokens: expected a number or [H] as an array or tensor, got "1"'],
  [() => 1, TypeError, "sinkTokens: expected a number or [H] as an array or tensor, got () => 1"],
  [null, TypeError, "sinkTokens: expected a number or [H] as an array or tensor, got null"],
  [-1, RangeError, "sinkTokens: expected an integer from 0 to 1073741824, got -1"],
  [0.5, RangeError, "sinkTokens: expected an integer from 0 to 1073741824, got 0.5"],
  [[1, 2], RangeError, "sinkTokens: expected a number or [H] = [4], got [2]"],
  [[1, 2, 3, -4], RangeError, "sinkTokens[3]: expected an integer from 0 to 1073741824, got -4"],
  [[1, 2, 3, "4"], TypeError, 'sinkTokens[3]: expected a number, got "4"'],
]);

refuses("chunk", [
  ["1", TypeError, 'chunk: expected an integer from 0 to 1073741824, got "1"'],
  [-1, RangeError, "chunk: expected an integer from 0 to 1073741824, got -1"],
  [2.5, RangeError, "chunk: expected an integer from 0 to 1073741824, got 2.5"],
  [2 ** 31, RangeError, "chunk: expected an integer from 0 to 1073741824, got 2147483648"],
]);

refuses("bias", [
  [null, TypeError, "bias: expected a tensor {data, shape}, got null"],
  [0, TypeError, "bias: expected a tensor {data, shape}, got 0"],
  [[1, 2], TypeError, "bias: expected a tensor {data, shape}, got Array"],
  [bool(N, M), TypeError, "bias: expected a floating dtype, got bool"],
  [f32(M + 1), RangeError, "bias: expected a shape that broadcasts to [B,H,N,M] = [2,4,3,5], got [6]"],
  [f32(N, 1, M), RangeError, "bias: expected a shape that broadcasts to [B,H,N,M] = [2,4,3,5], got [3,1,5]"],
  [
    f32(1, 1, 1, 1, 1),
    RangeError,
    "bias: expected a shape that broadcasts to [B,H,N,M] = [2,4,3,5], got [1,1,1,1,1]",
  ],
]);

refuses("mask", [
  [null, TypeError, "mask: expected a tensor {data, shape}, got null"],
  [
    f32(N, M),
    TypeError,
    'mask: expected dtype "bool" (a Uint8Array with dtype: "bool"), got float32; an additive mask is `bias`',
  ],
  [
    { ...bool(N, M), dtype: "uint8" },
    TypeError,
    'mask: expected dtype "bool" (a Uint8Array with dtype: "bool"), got uint8; an additive mask is `bias`',
  ],
  [bool(B, N, M), RangeError, "mask: expected a shape that broadcasts to [B,H,N,M] = [2,4,3,5], got [2,3,5]"],
]);
refuses("bias", [
  [f32(1), RangeError, 'bias: not available with layout "thd"; use "bhnd" per sequence'],
], thd);
refuses("mask", [
  [bool(1), RangeError, 'mask: not available with layout "thd"; use "bhnd" per sequence'],
], thd);

refuses("alibiSlopes", [
  [1, TypeError, "alibiSlopes: expected [H] or [B,H] as an array or tensor, got 1"],
  [null, TypeError, "alibiSlopes: expected [H] or [B,H] as an array or tensor, got null"],
  [[1, 2, 3], RangeError, "alibiSlopes: expected [H] or [B,H] = [4], got [3]"],
  [[1, 2, 3, "4"], TypeError, 'alibiSlopes[3]: expected a number, got "4"'],
  [new Array(8).fill(1), RangeError, "alibiSlopes: expected [H] or [B,H] = [4], got [8]"],
  [f32(4, 2), RangeError, "alibiSlopes: expected [H] or [B,H] = [4], got [4,2]"],
]);

refuses("sink", [
  [0, TypeError, "sink: expected [H] as an array or tensor, got 0"],
  [[1, 2], RangeError, "sink: expected [H] = [4], got [2]"],
  [f32(1, 4), RangeError, "sink: expected [H] = [4], got [1,4]"],
  [[1, 2, null, 4], TypeError, "sink[2]: expected a number, got null"],
]);

refuses("keyLengths", [
  [3, TypeError, "keyLengths: expected [B] as an array or tensor, got 3"],
  [[3], RangeError, "keyLengths: expected [B] = [2], got [1]"],
  [[3, 6], RangeError, "keyLengths[1]: expected an integer from 0 to 5, got 6"],
  [[-1, 3], RangeError, "keyLengths[0]: expected an integer from 0 to 5, got -1"],
  [[2.5, 3], RangeError, "keyLengths[0]: expected an integer from 0 to 5, got 2.5"],
  [["3", 3], TypeError, 'keyLengths[0]: expected a number, got "3"'],
]);
refuses("keyLengths", [[[4, 5], RangeError, "keyLengths[1]: expected an integer from 0 to 4, got 5"]], thd);

refuses("cuSeqlens", [
  [cuSeqlens, RangeError, 'cuSeqlens: expected layout "thd", got "bhnd"'],
]);
refuses("cuSeqlens", [
  [undefined, TypeError, 'cuSeqlens: expected {q, k} with layout "thd", got undefined'],
  [[0, 3, 9], TypeError, "cuSeqlens.q: expected [B+1] as an array or tensor, got undefined"],
  [{ q: 3, k: [0, 8] }, TypeError, "cuSeqlens.q: expected [B+1] as an array or tensor, got 3"],
  [{ q: [], k: [] }, RangeError, "cuSeqlens.q[0]: expected 0, got undefined"],
  [{ q: [1, 9], k: [0, 8] }, RangeError, "cuSeqlens.q[0]: expected 0, got 1"],
  [{ q: [0, 5, 3], k: [0, 4, 8] }, RangeError, "cuSeqlens.q[2]: expected an integer from 5 to 9, got 3"],
  [{ q: [0, 3, 10], k: [0, 4, 8] }, RangeError, "cuSeqlens.q[2]: expected an integer from 3 to 9, got 10"],
  [{ q: [0, 3, 9], k: [0, 4, 9] }, RangeError, "cuSeqlens.k[2]: expected an integer from 4 to 8, got 9"],
  [{ q: [0, 3, 9], k: [0, 8] }, RangeError, "cuSeqlens.k: expected [B+1] = [3], got [2]"],
  [{ q: [0, 1.5, 9], k: [0, 4, 8] }, RangeError, "cuSeqlens.q[1]: expected an integer from 0 to 9, got 1.5"],
], { layout: "thd" });

refuses("layout", [
  ["BHND", RangeError, 'layout: expected "bhnd", "bnhd", "thd", got "BHND"'],
  [4, TypeError, 'layout: expected "bhnd", "bnhd", "thd", got 4'],
]);

refuses("dropout", [
  [0.1, TypeError, "dropout: expected {p, seed}, got 0.1"],
  [null, TypeError, "dropout: expected {p, seed}, got null"],
  [{ p: 1, seed: 1 }, RangeError, "dropout.p: expected 0 ≤ p < 1, got 1"],
  [{ p: -0.1, seed: 1 }, RangeError, "dropout.p: expected 0 ≤ p < 1, got -0.1"],
  [{ p: NaN, seed: 1 }, RangeError, "dropout.p: expected a finite number, got NaN"],
  [{ p: "0.1", seed: 1 }, TypeError, 'dropout.p: expected a finite number, got "0.1"'],
  [
    { p: 0.1 },
    TypeError,
    "dropout.seed: expected an integer from -9007199254740991 to 9007199254740991, got undefined",
  ],
  [
    { p: 0.1, seed: 1.5 },
    RangeError,
    "dropout.seed: expected an integer from -9007199254740991 to 9007199254740991, got 1.5",
  ],
  [
    { p: 0.1, seed: 2 ** 53 },
    RangeError,
    "dropout.seed: expected an integer from -9007199254740991 to 9007199254740991, got 9007199254740992",
  ],
]);

refuses("out", [
  ["int8", RangeError, 'out: expected "float64", "float32", "float16", "bfloat16", got "int8"'],
  [f32(1), TypeError, 'out: expected "float64", "float32", "float16", "bfloat16", got Object'],
]);

describe("what the door lets in", () => {
  it("typed arrays, bigints and tensors as vectors", () => {
    const want = attention(q, k, v, { keyLengths: [3, 5], sink: [1, 2, 3, 4], alibiSlopes: [0.5, 1, 0, 2] });
    for (
      const [keyLengths, sink, alibiSlopes] of [
        [Int32Array.of(3, 5), Float32Array.of(1, 2, 3, 4), Float64Array.of(0.5, 1, 0, 2)],
        [
          { data: BigInt64Array.of(3n, 5n), dims: [2], type: "int64" },
          { data: Uint16Array.of(0x3f80, 0x4000, 0x4040, 0x4080), shape: [4], dtype: "bfloat16" },
          { data: Float32Array.of(0.5, 1, 0, 2, 0.5, 1, 0, 2), shape: [2, 4] },
        ],
        [[3, 5], { data: Float32Array.of(4, 3, 2, 1), shape: [4], strides: [-1], offset: 3 }, [0.5, 1, 0, 2]],
      ] as unknown as AttentionOptions["sink"][][]
    ) {
      expect(attention(q, k, v, { keyLengths, sink, alibiSlopes } as AttentionOptions)).toEqual(want);
    }
  });

  it("null, −1 and ∞ as open sides of a window", () => {
    const { left, right } = createProblem(q, k, v, {
      window: [[null, -1], [Infinity, 0], [2, null], [3, 4]],
    });
    expect([Array.from(left), Array.from(right)]).toEqual([
      [2147483647, 2147483647, 2, 3],
      [2147483647, 0, 2147483647, 4],
    ]);
  });

  it("masks of boolean tensors of other libraries", () => {
    const mask = { data: Uint8Array.of(1, 0, 1, 1, 0), dims: [5], type: "bool" };
    const same = { data: Uint8Array.of(1, 0, 1, 1, 0), shape: [5], dtype: "bool" as const };
    expect(attention(q, k, v, { mask })).toEqual(attention(q, k, v, { mask: same }));
  });
});
