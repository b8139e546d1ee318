/**
 * Damaged files: a reader gives tensors or a SyntaxError that names the field, soon and in little memory.
 *
 * 2,000 mutants by default; FLASHTILE_FUZZ=100000 asks for more, FLASHTILE_SEED=n for others. A failure names the
 * seed of its mutant.
 */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  type FileTensor,
  readNpy,
  readNpz,
  readSafetensors,
  writeNpy,
  writeNpz,
  writeSafetensors,
} from "../src/io/index.ts";
import { type Format, mutate } from "./support/mutate.ts";

const MUTANTS = Number(process.env.FLASHTILE_FUZZ ?? 2000);
const SEED = Number(process.env.FLASHTILE_SEED ?? 1);
const MOST_MS = 50;
const MIB = 2 ** 20;

type Tensors = Map<string, FileTensor>;

interface Subject {
  files: Uint8Array[];
  read(bytes: Uint8Array): Tensors;
  write(tensors: Tensors): Uint8Array;
  /** Faults that the mutants must have met, by a word of their messages: else the mutators are too weak. */
  meets: string[];
  /** What every message begins with: the file, then one of its fields. */
  fault: RegExp;
}

const NPY_FIELD = "(magic|version|header length|header|descr|fortran_order|shape|data)";
const ZIP_FIELD = "(method|offset|size|packed size|local header|data|CRC-32)";
const NAME = "[\\p{L}\\p{N}\\p{P}\\p{S} ]+?";

const all: Tensors = new Map<string, FileTensor>([
  ["a", { dtype: "float64", shape: [2, 2], data: new Float64Array([1, 2, 3, 4]) }],
  ["b", { dtype: "int64", shape: [3], data: new BigInt64Array([1n, 2n, 3n]) }],
  ["c", { dtype: "float16", shape: [], data: new Uint16Array([0x3c00]) }],
  ["d", { dtype: "bool", shape: [1, 3], data: new Uint8Array([1, 0, 1]) }],
  ["e", { dtype: "int8", shape: [0, 7], data: new Int8Array(0) }],
  ["zeros", { dtype: "float32", shape: [512], data: new Float32Array(512) }],
]);

const SUBJECTS: Record<Format, Subject> = {
  safetensors: {
    files: [
      vector("golden/d3_odd_f32.safetensors"),
      vector("golden/s1x1_f16__full.safetensors"),
      vector("golden/empty_keys_f32.safetensors"),
      writeSafetensors({ metadata: { note: "all", attention: '{"scale":1}' }, tensors: all }),
    ],
    read: (bytes) => readSafetensors(bytes, { name: "f" }).tensors,
    write: (tensors) => writeSafetensors({ tensors }),
    meets: [
      "header length",
      "UTF-8",
      "duplicate",
      "overlap",
      "hole",
      "dtype: expected F64",
      "2^53",
      "0 or 1",
      "only dtype",
      "end ≤",
    ],
    fault: new RegExp(
      `^f: (header length|header|data|metadata|metadata\\.${NAME}|tensors\\.${NAME}): expected `,
      "u",
    ),
  },
  npy: {
    files: ["float64", "float32_big_fortran", "int32_fortran", "bool", "scalar", "empty", "float32_v2"]
      .map((name) => vector(`npy/${name}.npy`)),
    read: (bytes) => new Map([["x", readNpy(bytes, { name: "f" })]]),
    write: (tensors) => writeNpy(tensors.get("x")!),
    meets: [
      "magic",
      "version",
      "header length",
      "ASCII",
      "descr",
      "fortran_order",
      "2^53",
      "once each",
      "0 or 1",
      "data",
    ],
    fault: new RegExp(`^f: ${NPY_FIELD}: expected `, "u"),
  },
  npz: {
    files: [vector("npy/stored.npz"), vector("npy/deflated.npz"), writeNpz({ tensors: all, compress: true })],
    read: (bytes) => readNpz(bytes, { name: "f" }).tensors,
    write: (tensors) => writeNpz({ tensors }),
    meets: [
      "end of directory",
      "directory",
      "method",
      "local header",
      "encryption",
      "zip64",
      "1032",
      "CRC-32",
      "deflate",
    ],
    fault: new RegExp(
      `^f: (end of directory|directory|${NAME}(: (${ZIP_FIELD}|${NPY_FIELD}))?): expected `,
      "u",
    ),
  },
};

function vector(path: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`./vectors/${path}`, import.meta.url)));
}

/** Bytes that a call left allocated, garbage included: array buffers apart, because they hold the tensors. */
function allocated<T>(call: () => T): { result: T; buffers: number; heap: number } {
  const before = process.memoryUsage();
  const result = call();
  const after = process.memoryUsage();
  return {
    result,
    buffers: after.arrayBuffers - before.arrayBuffers,
    heap: after.heapUsed - before.heapUsed,
  };
}

/** The tensors, or the SyntaxError; any other error is thrown. */
function attempt(read: Subject["read"], mutant: Uint8Array): Tensors | SyntaxError {
  try {
    return read(mutant);
  } catch (error) {
    if (Object.getPrototypeOf(error) === SyntaxError.prototype) return error as SyntaxError;
    throw error;
  }
}

/** Milliseconds of the fastest of a few calls: one slow call may be the machine's fault, all cannot. */
function fastest(call: () => void): number {
  let best = Infinity;
  for (let i = 0; i < 5 && best > MOST_MS; i++) {
    const start = performance.now();
    call();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

test("the meter sees buffers of 2 MiB", () => {
  expect(allocated(() => new Float64Array(2 ** 18)).buffers).toBeGreaterThan(MIB);
});

test.each(Object.keys(SUBJECTS) as Format[])("%s: damaged files give tensors or a SyntaxError", (format) => {
  const { files, read, write, meets, fault } = SUBJECTS[format];
  const met = new Set<string>();
  let whole = 0;
  for (let i = 0; i < Math.ceil(MUTANTS / 3); i++) {
    const seed = SEED * 1_000_003 + i;
    const mutant = mutate(format, files[i % files.length]!, seed);
    const which = `seed ${seed}`;
    const { result, buffers, heap } = allocated(() => attempt(read, mutant));
    expect(buffers, which).toBeLessThanOrEqual(mutant.length + MIB);
    expect(heap, which).toBeLessThanOrEqual(mutant.length + MIB);
    expect(fastest(() => attempt(read, mutant)), which).toBeLessThan(MOST_MS);
    if (result instanceof SyntaxError) {
      expect(result.message, which).toMatch(fault);
      meets.filter((word) => result.message.includes(word)).forEach((word) => met.add(word));
      continue;
    }
    whole++;
    // What was let through is sound: it can be written and is read as the same.
    const again = read(write(result));
    expect([...again.keys()].sort(), which).toEqual([...result.keys()].sort());
    for (const [name, { dtype, shape, data }] of result) {
      expect(data.length, which).toBe(shape.reduce((count, length) => count * length, 1));
      expect(again.get(name), which).toEqual({ dtype, shape, data });
    }
  }
  expect(whole).toBeGreaterThan(0);
  if ((MUTANTS === 2000 && SEED === 1) || MUTANTS >= 50_000) {
    expect([...met].sort()).toEqual([...meets].sort());
  }
}, 60_000 + 20 * MUTANTS);
