/**
 * ONNX Attention beyond its node tests: against the formula written out once more, by brute force, from the operator's
 * text; what the text and the reference disagree on; and every message.
 */
import { describe, expect, it } from "vitest";
import type { DType } from "../src/dtype.ts";
import {
  attention,
  type AttentionAttributes,
  type AttentionFunction,
  type AttentionInputs,
} from "../src/onnx/index.ts";
import { attention as oracle } from "../src/reference/index.ts";
import { fromFloat64, sizeOf, type Tensor, toFloat64, view } from "../src/tensor.ts";
import { Random } from "./support/random.ts";
import { expectThrow } from "./support/throws.ts";

const random = new Random(7);
const uniform = () => random.next() / 2 ** 31 - 1;

function tensor(shape: number[], dtype: DType = "float64"): Tensor {
  return { data: fromFloat64(Float64Array.from({ length: sizeOf(shape) }, uniform), dtype), shape, dtype };
}

function bools(shape: number[], rate = 0.6) {
  const data = Uint8Array.from({ length: sizeOf(shape) }, () => uniform() < 2 * rate - 1 ? 1 : 0);
  return { data, shape, dtype: "bool" as const };
}

const list = (x: Tensor) => Array.from(toFloat64(view("x", x)));

/** Allowed(b, h, i, j) and bias(b, h, i, j) over [B,H,N,M], from the operator's text. */
interface Rules {
  allowed(b: number, h: number, i: number, j: number): boolean;
  bias?(b: number, h: number, i: number, j: number): number;
}

/** softmax(softcap(s·QKᵀ) + bias)·V, 0 for a row without a key; Q, K, V [B,H,·,·] as many heads each. */
function formula(
  Q: Tensor,
  K: Tensor,
  V: Tensor,
  { allowed, bias }: Rules,
  scale?: number,
  softcap = 0,
): number[] {
  const [B, H, N, D] = Q.shape;
  const [, G, M] = K.shape;
  const E = V.shape[3];
  const [q, k, v] = [Q, K, V].map((x) => toFloat64(view("x", x)));
  const out: number[] = [];
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h * G / H);
      for (let i = 0; i < N; i++) {
        const x: number[] = [];
        for (let j = 0; j < M; j++) {
          let s = 0;
          for (let d = 0; d < D; d++) {
            s += q[((b * H + h) * N + i) * D + d] * k[((b * G + g) * M + j) * D + d];
          }
          s *= scale ?? 1 / Math.sqrt(D);
          if (softcap > 0) s = softcap * Math.tanh(s / softcap);
          x.push(allowed(b, h, i, j) ? s + (bias?.(b, h, i, j) ?? 0) : -Infinity);
        }
        const m = Math.max(...x);
        const w = x.map((s) => s === -Infinity ? 0 : Math.exp(s - m));
        const l = w.reduce((a, c) => a + c, 0);
        for (let c = 0; c < E; c++) {
          let o = 0;
          w.forEach((p, j) => o += p === 0 ? 0 : p / l * v[((b * G + g) * M + j) * E + c]);
          out.push(o);
        }
      }
    }
  }
  return out;
}

/** Two float64 evaluations, at most 40 terms of at most 1 in every sum: 40 roundings of 2^−53, and exp and tanh. */
const CLOSE = 64 * 2 ** -53;

function expectClose(got: Tensor, wanted: number[]): void {
  const found = list(got);
  expect(found.length).toBe(wanted.length);
  found.forEach((x, n) =>
    expect(Math.abs(x - wanted[n]), `[${n}] ${x} ${wanted[n]}`).toBeLessThanOrEqual(CLOSE)
  );
}

const always: Rules = { allowed: () => true };
const Q = tensor([2, 4, 3, 5]);
const K = tensor([2, 2, 6, 5]);
const V = tensor([2, 2, 6, 7]);

describe("Attention", () => {
  it("shares key heads, has its own width of V, and scales by 1/√D", () => {
    const { Y } = attention({ Q, K, V });
    expect(Y.shape).toEqual([2, 4, 3, 7]);
    expectClose(Y, formula(Q, K, V, always));
    expectClose(attention({ Q, K, V }, { scale: 0 }).Y, formula(Q, K, V, always, 0));
    expectClose(attention({ Q, K, V }, { scale: 0.3, softcap: 0.2 }).Y, formula(Q, K, V, always, 0.3, 0.2));
    // The function body divides and multiplies by softcap, and tanh is odd.
    expectClose(attention({ Q, K, V }, { softcap: -0.2 }).Y, formula(Q, K, V, always, undefined, 0.2));
  });

  it("reads [B,N,H·D] as heads one behind the other", () => {
    const flat = (x: Tensor, heads: number): Tensor => {
      const [B, H, N, D] = x.shape;
      const from = list(x);
      const data = new Float64Array(from.length);
      from.forEach((value, n) => {
        const [b, h, i, d] = [
          Math.floor(n / (H * N * D)),
          Math.floor(n / (N * D)) % H,
          Math.floor(n / D) % N,
          n % D,
        ];
        data[((b * N + i) * H + h) * D + d] = value;
      });
      return { data, shape: [B, N, heads * D], dtype: "float64" };
    };
    const heads = { q_num_heads: 4, kv_num_heads: 2 };
    const { Y, present_key } = attention({ Q: flat(Q, 4), K: flat(K, 2), V: flat(V, 2) }, heads);
    expect(Y.shape).toEqual([2, 3, 28]);
    expect(list(Y)).toEqual(list(flat(attention({ Q, K, V }).Y, 4)));
    expect(present_key!.shape).toEqual([2, 2, 6, 5]);
    expect(list(present_key!)).toEqual(list(K));
  });

  it("is causal from the top left, from behind the past, or from nonpad_kv_seqlen − N", () => {
    const causal = (offset: (b: number) => number): Rules => ({
      allowed: (b, _h, i, j) => j <= i + offset(b),
    });
    expectClose(attention({ Q, K, V }, { is_causal: 1 }).Y, formula(Q, K, V, causal(() => 0)));

    const past = { past_key: tensor([2, 2, 4, 5]), past_value: tensor([2, 2, 4, 7]) };
    const cached = attention({ Q, K, V, ...past }, { is_causal: true });
    expect(cached.present_key!.shape).toEqual([2, 2, 10, 5]);
    const [key, value] = [cached.present_key!, cached.present_value!];
    expect(list(key).slice(0, 20)).toEqual(list(past.past_key).slice(0, 20));
    expect(list(key).slice(20, 50)).toEqual(list(K).slice(0, 30));
    expectClose(cached.Y, formula(Q, key, value, causal(() => 4)));

    const lengths = [5, 2];
    const nonpad_kv_seqlen = { data: BigInt64Array.from(lengths, BigInt), shape: [2] };
    const { Y, ...none } = attention({ Q, K, V, nonpad_kv_seqlen }, { is_causal: 1 });
    // A negative offset leaves the first queries of batch 1 without a key.
    const rules: Rules = { allowed: (b, _h, i, j) => j < lengths[b] && j <= i + lengths[b] - 3 };
    expectClose(Y, formula(Q, K, V, rules));
    expect(list(Y).slice(84, 91)).toEqual(new Array(7).fill(0));
    expect(none).toEqual({});
    expectClose(
      attention({ Q, K, V, nonpad_kv_seqlen }).Y,
      formula(Q, K, V, { allowed: (b, _h, _i, j) => j < lengths[b] }),
    );
  });

  it("has windows round i + offset, and causality on top", () => {
    const past = { past_key: tensor([2, 2, 4, 5]), past_value: tensor([2, 2, 4, 7]) };
    const [key, value] = [
      attention({ Q, K, V, ...past }).present_key!,
      attention({ Q, K, V, ...past }).present_value!,
    ];
    for (const left of [-1, 0, 2]) {
      for (const right of [-1, 0, 1]) {
        for (const is_causal of [0, 1]) {
          const rules: Rules = {
            allowed: (_b, _h, i, j) =>
              (left < 0 || j >= i + 4 - left) && (right < 0 || j <= i + 4 + right) &&
              (!is_causal || j <= i + 4),
          };
          const attributes = { left_window_size: left, right_window_size: right, is_causal };
          expectClose(attention({ Q, K, V, ...past }, attributes).Y, formula(Q, key, value, rules));
        }
      }
    }
  });

  it("broadcasts masks from the right and fills a short last axis with no", () => {
    const shapes = [
      [6],
      [1, 6],
      [3, 6],
      [4, 3, 6],
      [4, 1, 6],
      [2, 1, 3, 6],
      [1, 4, 1, 6],
      [2, 4, 3, 6],
      [3, 4],
      [1],
      [2, 1, 1, 2],
    ];
    for (const shape of shapes) {
      const keys = shape[shape.length - 1];
      const full = [...new Array(4 - shape.length).fill(1), ...shape];
      const at = (b: number, h: number, i: number, j: number) =>
        [b, h, i, j].reduce((sum, x, axis) => sum * full[axis] + (full[axis] === 1 ? 0 : x), 0);
      const yes = bools(shape);
      expectClose(
        attention({ Q, K, V, attn_mask: yes }).Y,
        formula(Q, K, V, { allowed: (b, h, i, j) => j < keys && yes.data[at(b, h, i, j)] === 1 }),
      );
      const added = tensor(shape);
      added.data[0] = -Infinity;
      const bias = (b: number, h: number, i: number, j: number) => added.data[at(b, h, i, j)] as number;
      expectClose(
        attention({ Q, K, V, attn_mask: added }, { is_causal: 1 }).Y,
        formula(Q, K, V, {
          allowed: (b, h, i, j) => j < keys && j <= i && bias(b, h, i, j) > -Infinity,
          bias,
        }),
      );
    }
    // Opset 23 knows broadcasting alone: a last axis of 1 is stretched.
    const one = bools([3, 1]);
    expectClose(
      attention({ Q, K, V, attn_mask: one }, {}, { opset: 23 }).Y,
      formula(Q, K, V, { allowed: (_b, _h, i) => one.data[i] === 1 }),
    );
  });

  it("lets nothing through from a masked key, whatever it holds", () => {
    const attn_mask = { data: Uint8Array.of(1, 1, 1, 1, 0, 0), shape: [6], dtype: "bool" as const };
    const spoil = (x: Tensor): Tensor => {
      const data = Float64Array.from(list(x));
      const width = x.shape[3];
      for (let row = 0; row < 4; row++) {
        data.fill(row % 2 ? NaN : Infinity, (row * 6 + 4) * width, (row + 1) * 6 * width);
      }
      return { data, shape: x.shape, dtype: "float64" };
    };
    const clean = attention({ Q, K, V, attn_mask }, { qk_matmul_output_mode: 3 });
    const spoilt = attention({ Q, K: spoil(K), V: spoil(V), attn_mask }, { qk_matmul_output_mode: 3 });
    expect(list(spoilt.Y)).toEqual(list(clean.Y));
    expect(list(spoilt.qk_matmul_output!)).toEqual(list(clean.qk_matmul_output!));
  });

  it("writes the dtypes of Q and of V, whatever the mask's", () => {
    const dtypes: DType[] = ["float16", "bfloat16", "float32", "float64"];
    for (const dtype of dtypes) {
      const inputs = {
        Q: tensor([1, 1, 2, 4], dtype),
        K: tensor([1, 1, 3, 4], dtype),
        V: tensor([1, 1, 3, 2], "float32"),
      };
      const result = attention({ ...inputs, attn_mask: tensor([3], "float16") }, {
        qk_matmul_output_mode: 0,
      });
      expect(Object.entries(result).map(([name, { dtype: d }]) => [name, d])).toEqual([
        ["Y", dtype],
        ["present_key", dtype],
        ["present_value", "float32"],
        ["qk_matmul_output", dtype],
      ]);
    }
  });
});

describe("qk_matmul_output", () => {
  const inputs = { Q, K, V, attn_mask: tensor([3, 6]) };
  const scores = (softcap: number) => {
    const identity: Tensor = { data: new Float64Array(2 * 2 * 36), shape: [2, 2, 6, 6], dtype: "float64" };
    for (let n = 0; n < 4; n++) for (let j = 0; j < 6; j++) identity.data[n * 36 + j * 7] = 1;
    const [q, k] = [list(Q), list(K)];
    return Array.from({ length: 2 * 4 * 3 * 6 }, (_, n) => {
      const [bh, i, j] = [Math.floor(n / 18), Math.floor(n / 6) % 3, n % 6];
      const g = Math.floor(bh / 4) * 2 + Math.floor(bh % 4 / 2);
      let s = 0;
      for (let d = 0; d < 5; d++) s += q[(bh * 3 + i) * 5 + d] * k[(g * 6 + j) * 5 + d];
      s /= Math.sqrt(5);
      return softcap > 0 ? softcap * Math.tanh(s / softcap) : s;
    });
  };
  const get = (attributes: AttentionAttributes) => attention(inputs, attributes).qk_matmul_output!;

  it("0 gives the scores before softcap, as the function body has it and the text says", () => {
    expectClose(get({ qk_matmul_output_mode: 0, softcap: 0.5 }), scores(0));
  });

  it("1 gives them after softcap", () => {
    expectClose(get({ qk_matmul_output_mode: 1, softcap: 0.5 }), scores(0.5));
    expectClose(get({ qk_matmul_output_mode: 1 }), scores(0));
  });

  it("2 adds the mask, −∞ where nothing may be seen", () => {
    const wanted = scores(0.5).map((s, n) => {
      const [i, j] = [Math.floor(n / 6) % 3, n % 6];
      return j <= i ? s + (inputs.attn_mask.data[i * 6 + j] as number) : -Infinity;
    });
    const got = list(get({ qk_matmul_output_mode: 2, softcap: 0.5, is_causal: 1 }));
    got.forEach((x, n) =>
      expect(x === wanted[n] || Math.abs(x - wanted[n]) <= CLOSE, `${x} ${wanted[n]}`).toBe(true)
    );
  });

  it("3 gives the probabilities, rows of 0 without a key", () => {
    const P = list(get({ qk_matmul_output_mode: 3, left_window_size: 0, right_window_size: 0 }));
    P.forEach((p, n) => expect(p).toBe(Math.floor(n / 6) % 3 === n % 6 ? 1 : 0));
    const none = { data: new Uint8Array(6), shape: [6], dtype: "bool" as const };
    const empty = attention({ Q, K, V, attn_mask: none }, { qk_matmul_output_mode: 3 });
    expect(list(empty.qk_matmul_output!).concat(list(empty.Y)).every((x) => x === 0)).toBe(true);
  });

  it("comes only if asked for", () => {
    expect(Object.keys(attention({ Q, K, V }))).toEqual(["Y", "present_key", "present_value"]);
    expect(Object.keys(attention({ Q, K, V }, {}, { outputs: ["Y", "qk_matmul_output"] }))).toEqual([
      "Y",
      "qk_matmul_output",
    ]);
  });
});

describe("softmax_precision", () => {
  const q = tensor([1, 1, 2, 4], "float32");
  const k = tensor([1, 1, 5, 4], "float32");
  const v = tensor([1, 1, 5, 3], "float32");
  const run = (softmax_precision?: number) =>
    attention({ Q: q, K: k, V: v }, {
      scale: 3,
      qk_matmul_output_mode: 3,
      ...(softmax_precision && { softmax_precision }),
    });

  it.each([[10, 11], [16, 8]])("%i leaves the probabilities %i bits", (code, bits) => {
    const P = list(run(code).qk_matmul_output!);
    for (const p of P) {
      const exponent = Math.floor(Math.log2(p));
      expect(Number.isInteger(p * 2 ** (bits - 1 - exponent))).toBe(true);
    }
    // And they are off by roundings of that size, no more: x, x − m, e, Σ and P, with |x| ≤ 3 here.
    const exact = list(run(11).qk_matmul_output!);
    P.forEach((p, n) => expect(Math.abs(p - exact[n])).toBeLessThan(p * 2 ** -bits * (2 * 3 + 2 * 6 + 5)));
    expect(P).not.toEqual(exact);
  });

  it("that is at least the output's changes nothing", () => {
    expect(run(1)).toEqual(run());
    expect(run(11)).toEqual(run());
  });

  it("goes through the implementation unless digits are lost", () => {
    let calls = 0;
    const count: AttentionFunction = (...call) => (calls++, oracle(...call));
    attention({ Q: q, K: k, V: v }, { softmax_precision: 1 }, { implementation: count });
    expect(calls).toBe(1);
    attention({ Q: q, K: k, V: v }, { softmax_precision: 10 }, { implementation: count });
    expect(calls).toBe(1);
  });
});

describe("Attention refuses", () => {
  const int32 = (...data: number[]) => ({ data: Int32Array.from(data), shape: [data.length] });
  type Case = [
    string,
    typeof RangeError | typeof TypeError,
    Partial<AttentionInputs>,
    AttentionAttributes,
    number?,
  ];
  const flat = { Q: tensor([2, 3, 20]), K: tensor([2, 6, 10]), V: tensor([2, 6, 14]) };
  const past = { past_key: tensor([2, 2, 4, 5]), past_value: tensor([2, 2, 4, 7]) };
  const cases: Case[] = [
    ["Q: expected [B,H,N,D] or [B,N,H·D], got [2,3]", RangeError, { Q: tensor([2, 3]) }, {}],
    ["Q: expected a floating dtype, got int32", TypeError, {
      Q: { data: new Int32Array(8), shape: [2, 1, 2, 2] },
    }, {}],
    ["K: expected 4 axes like Q, got [2,6,10]", RangeError, { K: flat.K }, {}],
    ["K: expected float64 like Q, got float32", TypeError, { K: tensor([2, 2, 6, 5], "float32") }, {}],
    ["K: expected [B,G,M,D] = [2,2,_,5], got [2,2,6,4]", RangeError, { K: tensor([2, 2, 6, 4]) }, {}],
    ["K: expected key/value heads G that divide H=4, got G=3", RangeError, {
      K: tensor([2, 3, 6, 5]),
      V: tensor([2, 3, 6, 7]),
    }, {}],
    ["V: expected [B,G,M,E] = [2,2,6,_], got [2,2,5,7]", RangeError, { V: tensor([2, 2, 5, 7]) }, {}],
    ["V: expected a tensor, got none", TypeError, { V: undefined as never }, {}],
    ["q_num_heads: expected a count for three-dimensional inputs, got none", RangeError, flat, {
      kv_num_heads: 2,
    }],
    ["kv_num_heads: expected a count ≥ 1, got 0", RangeError, flat, { q_num_heads: 4, kv_num_heads: 0 }],
    ["Q: expected a width that 3 heads divide, got [2,3,20]", RangeError, flat, {
      q_num_heads: 3,
      kv_num_heads: 2,
    }],
    ["K: expected [B,M,G·D] = [2,_,20], got [2,6,10]", RangeError, flat, { q_num_heads: 2, kv_num_heads: 2 }],
    ["q_num_heads: expected none for four-dimensional inputs from opset 25 on, got 4", RangeError, {}, {
      q_num_heads: 4,
    }],
    ["q_num_heads: expected 4 like the input's, got 2", RangeError, {}, { q_num_heads: 2 }, 24],
    ["left_window_size: expected opset 25 or newer, got 24", RangeError, {}, { left_window_size: 1 }, 24],
    ["right_window_size: expected −1 or a size ≥ 0, got -2", RangeError, {}, { right_window_size: -2 }],
    ["scale: expected a number ≥ 0, of which √ is taken, got -1", RangeError, {}, { scale: -1 }],
    ["scale: expected a finite number, got NaN", RangeError, {}, { scale: NaN }],
    ['scale: expected a number, got "1"', TypeError, {}, { scale: "1" as never }],
    [
      "dropout: no such attribute of Attention; there are is_causal, scale, softcap, q_num_heads, kv_num_heads, " +
      "qk_matmul_output_mode, softmax_precision, left_window_size, right_window_size",
      TypeError,
      {},
      {
        dropout: 1,
      } as never,
    ],
    [
      "sink: no such input of Attention; there are Q, K, V, attn_mask, past_key, past_value, nonpad_kv_seqlen",
      TypeError,
      {
        sink: Q,
      } as never,
      {},
    ],
    ["qk_matmul_output_mode: expected 0, 1, 2 or 3, got 4", RangeError, {}, { qk_matmul_output_mode: 4 }],
    ["softmax_precision: expected 1, 10, 11 or 16, got 2", RangeError, {}, { softmax_precision: 2 }],
    [
      "past_value: expected a tensor with the other half, got none",
      TypeError,
      { past_key: past.past_key },
      {},
    ],
    ["past_key: expected [B,G,past,D] = [2,2,_,5], got [2,4,4,5]", RangeError, {
      ...past,
      past_key: tensor([2, 4, 4, 5]),
    }, {}],
    ["past_value: expected [B,G,past,E] = [2,2,4,7], got [2,2,3,7]", RangeError, {
      ...past,
      past_value: tensor([2, 2, 3, 7]),
    }, {}],
    ["past_key: expected float64 like K, got float32", TypeError, {
      ...past,
      past_key: tensor([2, 2, 4, 5], "float32"),
    }, {}],
    ["nonpad_kv_seqlen: expected none with past_key and past_value, got one", TypeError, {
      ...past,
      nonpad_kv_seqlen: int32(1, 2),
    }, {}],
    [
      "nonpad_kv_seqlen: expected opset 24 or newer, got 23",
      RangeError,
      { nonpad_kv_seqlen: int32(1, 2) },
      {},
      23,
    ],
    ["nonpad_kv_seqlen[1]: expected an integer from 0 to 6, got 7", RangeError, {
      nonpad_kv_seqlen: int32(1, 7),
    }, {}],
    ["nonpad_kv_seqlen: expected [B] = [2], got [3]", RangeError, { nonpad_kv_seqlen: int32(1, 2, 3) }, {}],
    ["nonpad_kv_seqlen: expected int64, got float64", TypeError, { nonpad_kv_seqlen: tensor([2]) }, {}],
    ["attn_mask: expected a shape that broadcasts to [B,H,N,M] = [2,4,3,6], got [3,7]", RangeError, {
      attn_mask: tensor([3, 7]),
    }, {}],
    ["attn_mask: expected a shape that broadcasts to [B,H,N,M] = [2,4,3,6], got [2,3,6]", RangeError, {
      attn_mask: tensor([2, 3, 6]),
    }, {}],
    ["attn_mask: expected at least 5 keys, as nonpad_kv_seqlen has, got [3,4]", RangeError, {
      attn_mask: tensor([3, 4]),
      nonpad_kv_seqlen: int32(5, 2),
    }, {}],
    ["attn_mask: expected bool or a floating dtype, got int32", TypeError, {
      attn_mask: int32(1, 1, 1, 1, 1, 1),
    }, {}],
    ["opset: expected an integer ≥ 23 for Attention, got 1", RangeError, {}, {}, 1],
  ];
  it.each(cases)("%s", (message, Class, inputs, attributes, opset) => {
    expectThrow(() => attention({ Q, K, V, ...inputs }, attributes, opset ? { opset } : {}), Class, message);
  });

  it("an output that it doesn't have", () => {
    expectThrow(
      () => attention({ Q, K, V }, {}, { outputs: ["lse"] }),
      TypeError,
      "lse: no such output of Attention; there are Y, present_key, present_value, qk_matmul_output",
    );
  });
});
