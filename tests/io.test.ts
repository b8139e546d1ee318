import { readdirSync, readFileSync } from "node:fs";
import { unzipSync, zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import {
  type DType,
  type FileTensor,
  readNpy,
  readNpz,
  readSafetensors,
  writeNpy,
  writeNpz,
  writeSafetensors,
} from "../src/io/index.ts";
import { BYTES } from "../src/dtype.ts";

const DTYPES = Object.keys(BYTES) as DType[];
const SHAPES = [[], [0], [1], [2, 3], [3, 0, 2], [2, 1, 4, 3]];

/** Elements 0, 1, 2 …, 0 and 1 for bool; 16-bit floats as words, so that −0, ∞ and NaN patterns occur. */
function tensorOf(dtype: DType, shape: number[]): FileTensor {
  const count = shape.reduce((product, length) => product * length, 1);
  const index = Array.from({ length: count }, (_, i) => i);
  switch (dtype) {
    case "float64":
      return { dtype, shape, data: Float64Array.from(index, (i) => i ? -1 / i : -0) };
    case "float32":
      return { dtype, shape, data: Float32Array.from(index, (i) => i ? 1e38 * i : NaN) };
    case "float16":
    case "bfloat16":
      return { dtype, shape, data: Uint16Array.from(index, (i) => 0x7bfe + i * 0x201) };
    case "int64":
      return { dtype, shape, data: BigInt64Array.from(index, (i) => (-1n << 63n) + BigInt(i)) };
    case "int32":
      return { dtype, shape, data: Int32Array.from(index, (i) => i - 0x80000000) };
    case "int8":
      return { dtype, shape, data: Int8Array.from(index, (i) => i - 5) };
    case "uint8":
      return { dtype, shape, data: Uint8Array.from(index, (i) => 250 + i) };
    case "bool":
      return { dtype, shape, data: Uint8Array.from(index, (i) => i & 1) };
  }
}

function everything(dtypes: readonly DType[]): Map<string, FileTensor> {
  return new Map(
    dtypes.flatMap((dtype) => SHAPES.map((shape) => [`${dtype} ${shape.join("×")}`, tensorOf(dtype, shape)])),
  );
}

function elements({ data }: FileTensor): number[] {
  return Array.from<number | bigint, number>(data, Number);
}

/** The same tensors in the same order, by their bytes: toEqual walks element by element, 100 times as long. */
function expectSame(actual: Map<string, FileTensor>, expected: Map<string, FileTensor>): void {
  expect([...actual.keys()]).toEqual([...expected.keys()]);
  for (const [name, { dtype, shape, data }] of expected) {
    const read = actual.get(name)!;
    expect([read.dtype, read.shape, read.data.constructor], name).toEqual([dtype, shape, data.constructor]);
    expect(bufferOf(read).equals(bufferOf({ dtype, shape, data })), name).toBe(true);
  }
}

function bufferOf({ data }: FileTensor): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

/** The same bytes at an address that is `shift` past a multiple of 8. */
function shifted(bytes: Uint8Array, shift: number): Uint8Array {
  const room = new Uint8Array(bytes.length + 8);
  room.set(bytes, shift);
  return room.subarray(shift, shift + bytes.length);
}

function vector(path: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`./vectors/${path}`, import.meta.url)));
}

function vectors(folder: string, extension: string): string[] {
  return readdirSync(new URL(`./vectors/${folder}`, import.meta.url)).filter((name) =>
    name.endsWith(extension)
  );
}

describe("safetensors", () => {
  test("writes and reads every dtype and shape, aligned or not", () => {
    const tensors = everything(DTYPES);
    const metadata = { note: 'a "b"\n\u2028é😀', empty: "" };
    const file = writeSafetensors({ metadata, tensors });
    for (let shift = 0; shift < 8; shift++) {
      const read = readSafetensors(shifted(file, shift));
      expect(read.metadata).toEqual(metadata);
      expect([...read.tensors]).toEqual([...tensors]);
    }
  });

  test("views what is aligned and copies the rest", () => {
    const x = tensorOf("float32", [2, 3]);
    const file = writeSafetensors({ tensors: { x } });
    expect(readSafetensors(file).tensors.get("x")!.data.buffer).toBe(file.buffer);
    const odd = shifted(file, 1);
    const copied = readSafetensors(odd).tensors.get("x")!;
    expect(copied.data.buffer).not.toBe(odd.buffer);
    expect(copied).toEqual(x);
  });

  test("copies from a Buffer, whose slices share memory", () => {
    const file = Buffer.from(shifted(writeSafetensors({ tensors: { x: tensorOf("float64", [2, 3]) } }), 0));
    const odd = Buffer.concat([Buffer.alloc(1), file]).subarray(1);
    const { data } = readSafetensors(odd).tensors.get("x")!;
    odd.fill(0);
    expect(data).toEqual(tensorOf("float64", [2, 3]).data);
  });

  test("reads from shared memory", () => {
    const file = writeSafetensors({ tensors: { x: tensorOf("int32", [4]) } });
    const shared = new Uint8Array(new SharedArrayBuffer(file.length));
    shared.set(file);
    expect(elements(readSafetensors(shared).tensors.get("x")!)).toEqual(elements(tensorOf("int32", [4])));
  });

  test("aligns every tensor in a file of mixed widths", () => {
    const tensors = everything([...DTYPES].reverse());
    const file = writeSafetensors({ tensors });
    for (const { data } of readSafetensors(file).tensors.values()) expect(data.buffer).toBe(file.buffer);
  });

  test("writes the same bytes for the same input, as an object or a Map", () => {
    const [a, b] = [tensorOf("bool", [3]), tensorOf("float16", [2])];
    expect(writeSafetensors({ tensors: { a, b } })).toEqual(
      writeSafetensors({ tensors: new Map(Object.entries({ a, b })) }),
    );
  });

  test("writes the documented layout", () => {
    const file = writeSafetensors({ metadata: { k: "v" }, tensors: { x: tensorOf("uint8", [2]) } });
    const header = '{"__metadata__":{"k":"v"},"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}';
    const length = Math.ceil(header.length / 8) * 8;
    expect(new DataView(file.buffer).getBigUint64(0, true)).toBe(BigInt(length));
    expect(new TextDecoder().decode(file.subarray(8, 8 + length))).toBe(header.padEnd(length));
    expect([...file.subarray(8 + length)]).toEqual([250, 251]);
  });

  test("keeps names that are traps for objects", () => {
    const x = tensorOf("int8", [1]);
    const names = ["__proto__", "constructor", "toString", "", "a\nb"];
    const metadata = JSON.parse('{"__proto__":"p","constructor":"c"}') as Record<string, string>;
    const read = readSafetensors(
      writeSafetensors({ metadata, tensors: new Map(names.map((name) => [name, x])) }),
    );
    expect([...read.tensors.keys()]).toEqual(names);
    expect(Object.entries(read.metadata)).toEqual([["__proto__", "p"], ["constructor", "c"]]);
    expect(Object.getPrototypeOf(read.metadata)).toBe(null);
    expect(({} as Record<string, unknown>).p).toBe(undefined);
  });

  test("reads a file with no tensors", () => {
    const { metadata, tensors } = readSafetensors(writeSafetensors({ tensors: {} }));
    expect([Object.keys(metadata), tensors.size]).toEqual([[], 0]);
  });

  test.each(vectors("golden", ".safetensors"))("reads %s and writes it back", (name) => {
    const read = readSafetensors(vector(`golden/${name}`), { name });
    expect(read.tensors.has("q")).toBe(true);
    expect(JSON.parse(read.metadata.attention!)).toHaveProperty("layout");
    const again = readSafetensors(writeSafetensors(read));
    expectSame(again.tensors, read.tensors);
    expect({ ...again.metadata }).toEqual({ ...read.metadata });
  });
});

/** What make.py put into each array. */
function madeByNumpy(dtype: DType): number[] {
  return Array.from({ length: 24 }, (_, i) => {
    if (dtype === "bool") return Number(i % 3 === 0);
    if (dtype === "uint8") return 5 * i;
    return dtype.startsWith("float") ? (5 * i - 40) / 8 : 5 * i - 40;
  });
}

/** float16 values that make.py uses are multiples of 1/8 below 16. */
function numbersOf(tensor: FileTensor): number[] {
  if (tensor.dtype !== "float16") return elements(tensor);
  return elements(tensor).map((h) => {
    const magnitude = h & 0x7fff ? (1 + (h & 1023) / 1024) * 2 ** (((h >> 10) & 31) - 15) : 0;
    return h & 0x8000 ? -magnitude : magnitude;
  });
}

const NUMPY = DTYPES.filter((dtype) => dtype !== "bfloat16");

describe("npy", () => {
  test.each(NUMPY)("%s: reads NumPy's file in every order and writes NumPy's bytes", (dtype) => {
    const file = vector(`npy/${dtype}.npy`);
    const wide = BYTES[dtype] > 1 ? [`${dtype}_big.npy`] : [];
    const tensors = [file, ...[`${dtype}_fortran.npy`, ...wide].map((name) => vector(`npy/${name}`))]
      .map((bytes) => readNpy(bytes));
    for (const tensor of tensors) {
      expect([tensor.dtype, tensor.shape]).toEqual([dtype, [2, 3, 4]]);
      expect(numbersOf(tensor)).toEqual(madeByNumpy(dtype));
    }
    expect(writeNpy(tensors[1]!)).toEqual(file);
  });

  test.each(["float32_v2", "float32_v3", "float32_big_fortran"])("reads %s", (name) => {
    expect(readNpy(vector(`npy/${name}.npy`))).toEqual(readNpy(vector("npy/float32.npy")));
  });

  test.each([["scalar", []], ["vector", [1]], ["empty", [3, 0, 2]]])(
    "reads %s and writes NumPy's bytes",
    (name, shape) => {
      const file = vector(`npy/${name}.npy`);
      const tensor = readNpy(file);
      expect(tensor.shape).toEqual(shape);
      expect(writeNpy(tensor)).toEqual(file);
    },
  );

  test.each(NUMPY)("%s: writes and reads every shape, aligned or not", (dtype) => {
    for (const shape of SHAPES) {
      const file = writeNpy(tensorOf(dtype, shape));
      expect(file.length % 64).toBe((shape.reduce((a, b) => a * b, 1) * BYTES[dtype]) % 64);
      for (let shift = 0; shift < 8; shift++) {
        expect(readNpy(shifted(file, shift))).toEqual(tensorOf(dtype, shape));
      }
    }
  });

  test("views what is aligned", () => {
    const file = writeNpy(tensorOf("float64", [2, 3]));
    expect(readNpy(file).data.buffer).toBe(file.buffer);
    expect(readNpy(shifted(file, 4)).data.buffer.byteLength).toBe(48);
  });
});

describe("npz", () => {
  test.each(["stored", "deflated"])("reads NumPy's %s archive", (name) => {
    const { tensors } = readNpz(vector(`npy/${name}.npz`));
    expect([...tensors.keys()]).toEqual([
      "float64",
      "float32",
      "float16",
      "int64",
      "int32",
      "int8",
      "uint8",
      "bool",
    ]);
    for (const [dtype, tensor] of tensors) {
      expect(tensor).toEqual(readNpy(vector(`npy/${dtype}.npy`)));
    }
  });

  test.each([false, true])("writes and reads every dtype and shape (compress: %s)", (compress) => {
    const tensors = everything(NUMPY);
    const file = writeNpz({ tensors, compress });
    expect([...readNpz(file).tensors]).toEqual([...tensors]);
    expect([...readNpz(shifted(file, 3)).tensors]).toEqual([...tensors]);
    expect(Object.keys(unzipSync(file))).toEqual([...tensors.keys()].map((name) => `${name}.npy`));
  });

  test("stored entries are views where aligned", () => {
    const file = writeNpz({ tensors: { x: tensorOf("int8", [4]) } });
    expect(readNpz(file).tensors.get("x")!.data.buffer).toBe(file.buffer);
  });

  test.each([1, 3, 300, 65537, 300_000])(
    "inflates %i float32 zeros and noise, in steps where it is large",
    (length) => {
      const zeros: FileTensor = { dtype: "float32", shape: [length], data: new Float32Array(length) };
      const noise: FileTensor = {
        dtype: "int8",
        shape: [length],
        data: Int8Array.from({ length }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 24),
      };
      const { tensors } = readNpz(writeNpz({ tensors: { zeros, noise }, compress: true }));
      expectSame(tensors, new Map(Object.entries({ zeros, noise })));
    },
  );

  test("the same input gives the same bytes at any time", () => {
    const tensors = { x: tensorOf("float32", [5]) };
    const entry = { "x.npy": writeNpy(tensors.x) };
    expect(writeNpz({ tensors })).toEqual(zipSync(entry, { level: 0, mtime: "1980-01-01T00:00" }));
  });
});
