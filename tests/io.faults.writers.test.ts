/** What the writers refuse, and what all readers refuse before they look at a byte. */

import { describe, expect, test } from "vitest";
import {
  type FileTensor,
  readNpy,
  readNpz,
  readSafetensors,
  writeNpy,
  writeNpz,
  writeSafetensors,
} from "../src/io/index.ts";
import { expectThrow } from "./support/throws.ts";

const f32 = (shape: unknown, length: number) => ({ dtype: "float32", shape, data: new Float32Array(length) });
const DTYPES = "float64, float32, float16, bfloat16, int8, uint8, int32, int64, bool";

const WRITERS: [string, (tensor: FileTensor) => Uint8Array, field: string][] = [
  ["writeSafetensors", (x) => writeSafetensors({ tensors: { x } }), "tensors.x"],
  ["writeNpz", (x) => writeNpz({ tensors: { x } }), "tensors.x"],
  ["writeNpy", writeNpy, "tensor"],
];

describe.each(WRITERS)("%s", (_, write, field) => {
  const cases: [unknown, typeof TypeError | typeof RangeError, string][] = [
    [undefined, TypeError, ": expected a tensor, got undefined"],
    [null, TypeError, ": expected a tensor, got null"],
    [{ ...f32([1], 1), dtype: "float8" }, TypeError, `.dtype: expected one of ${DTYPES}, got float8`],
    [{ ...f32([1], 1), dtype: "toString" }, TypeError, `.dtype: expected one of ${DTYPES}, got toString`],
    [
      { ...f32([1], 1), dtype: "int64" },
      TypeError,
      ".data: expected BigInt64Array for int64, got Float32Array",
    ],
    [{ ...f32([1], 1), data: [1] }, TypeError, ".data: expected Float32Array for float32, got Array"],
    [f32(1, 1), TypeError, ".shape: expected an array, got number"],
    [f32([-1], 1), RangeError, ".shape: expected at most 32 lengths ≥ 0, got [-1]"],
    [f32([0.5, 2], 1), RangeError, ".shape: expected at most 32 lengths ≥ 0, got [0.5, 2]"],
    [f32(["1"], 1), RangeError, ".shape: expected at most 32 lengths ≥ 0, got [1]"],
    [f32([2, 3], 5), RangeError, ".data: expected length 6 for [2, 3], got 5"],
    [f32([], 0), RangeError, ".data: expected length 1 for [], got 0"],
    [
      f32([0, 2 ** 40, 2 ** 40], 0),
      RangeError,
      `.shape: expected at most 2^53 - 1 elements, got [0, ${2 ** 40}, ${2 ** 40}]`,
    ],
    [
      { dtype: "bool", shape: [2], data: new Uint8Array([1, 2]) },
      RangeError,
      ".data: expected 0 or 1, got 2 at 1",
    ],
  ];
  test.each(cases)("%o", (tensor, Class, message) => {
    expectThrow(() => write(tensor as FileTensor), Class, field + message);
  });
});

test("33 dimensions", () => {
  const shape = Array(33).fill(1);
  const message = `tensor.shape: expected at most 32 lengths ≥ 0, got [${shape.join(", ")}]`;
  expectThrow(() => writeNpy(f32(shape, 1) as FileTensor), RangeError, message);
});

describe("names, notes and kinds", () => {
  const x: FileTensor = { dtype: "float32", shape: [], data: new Float32Array(1) };
  const bf16: FileTensor = { dtype: "bfloat16", shape: [], data: new Uint16Array(1) };
  const wrong = <T>(value: unknown) => value as T;
  test.each<[string, () => unknown, typeof TypeError | typeof RangeError, string]>([
    [
      "no tensors",
      () => writeSafetensors({ tensors: wrong(undefined) }),
      TypeError,
      "tensors: expected a Map or an object, got undefined",
    ],
    [
      "no tensors in npz",
      () => writeNpz({ tensors: wrong(null) }),
      TypeError,
      "tensors: expected a Map or an object, got null",
    ],
    [
      "a name that is a number",
      () => writeNpz({ tensors: wrong(new Map([[1, x]])) }),
      TypeError,
      "tensors: expected names that are strings, got number",
    ],
    [
      "the name of the notes",
      () => writeSafetensors({ tensors: { __metadata__: x } }),
      RangeError,
      "tensors: expected names in Unicode other than __metadata__, got __metadata__",
    ],
    [
      "half a pair",
      () => writeSafetensors({ tensors: { "\ud800": x } }),
      RangeError,
      "tensors: expected names in Unicode other than __metadata__, got \\u{d800}",
    ],
    [
      "half a pair in npz",
      () => writeNpz({ tensors: { "\ud800": x } }),
      RangeError,
      "tensors: expected names in Unicode of less than 64 KiB, got \\u{d800}",
    ],
    [
      "a long name in npz",
      () => writeNpz({ tensors: { ["n".repeat(65532)]: x } }),
      RangeError,
      `tensors: expected names in Unicode of less than 64 KiB, got ${"n".repeat(64)}…`,
    ],
    [
      "a note that is a number",
      () => writeSafetensors({ metadata: { a: wrong(1) }, tensors: {} }),
      TypeError,
      "metadata.a: expected a string, got number",
    ],
    [
      "half a pair in a note",
      () => writeSafetensors({ metadata: { a: "\udc00" }, tensors: {} }),
      RangeError,
      "metadata.a: expected Unicode, got half a pair",
    ],
    [
      "bfloat16 in npy",
      () => writeNpy(bf16),
      TypeError,
      "tensor.dtype: expected one that NumPy has, got bfloat16",
    ],
    [
      "bfloat16 in npz",
      () => writeNpz({ tensors: { q: bf16 } }),
      TypeError,
      "tensors.q.dtype: expected one that NumPy has, got bfloat16",
    ],
  ])("%s", (_, call, Class, message) => expectThrow(call, Class, message));
});

test("the longest name that zip holds is read back", () => {
  const name = "n".repeat(65531);
  const x: FileTensor = { dtype: "int8", shape: [1], data: new Int8Array([3]) };
  expect(readNpz(writeNpz({ tensors: { [name]: x } })).tensors.get(name)).toEqual(x);
});

test.each([readSafetensors, readNpy, readNpz])("%o takes a Uint8Array alone", (read) => {
  for (
    const [bytes, kind] of [[undefined, "undefined"], ["{}", "string"], [[1], "Array"], [
      new ArrayBuffer(8),
      "ArrayBuffer",
    ], [
      new Int8Array(8),
      "Int8Array",
    ]] as const
  ) {
    expectThrow(
      () => read(bytes as unknown as Uint8Array),
      TypeError,
      `bytes: expected a Uint8Array, got ${kind}`,
    );
  }
});
