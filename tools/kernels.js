/** assembly/ → build/*.wasm → src/wasm/generated/*.ts, as text that src/wasm/text.ts reads. */
import asc from "assemblyscript/asc";
import binaryen from "binaryen";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

/** Name of the build → entry, target of asconfig.json, other options. */
const BUILDS = {
  deterministic: ["assembly/index.ts", "deterministic"],
  relaxed: ["assembly/index.ts", "relaxed"],
  "deterministic.full": ["assembly/full.ts", "deterministic", "--use", "TWINS=1"],
  "relaxed.full": ["assembly/full.ts", "relaxed", "--use", "TWINS=1"],
};
/** Zeros start here (assembly/tile/gemm_f32_4x8.ts), below the arena: tables must end below. */
const STATIC_LIMIT = 32768;
/** What the first page of the unpacker's memory holds, and sixteen characters behind it that are none. */
const TEXT_LIMIT = 65536 - 16;

export async function buildKernels() {
  mkdirSync("src/wasm/generated", { recursive: true });
  await buildUnpacker();
  for (const [name, [entry, target, ...options]] of Object.entries(BUILDS)) {
    const files = ["--outFile", `build/${name}.wasm`, "--textFile", `build/${name}.wat`];
    await compile([entry, "--config", "asconfig.json", "--target", target, ...files, ...options]);
    checkStaticData(name);
    const bytes = optimizeAgain(readFileSync(`build/${name}.wasm`));
    writeFileSync(`build/${name}.wasm`, bytes);
    const text = asText(bytes);
    if (text.length > TEXT_LIMIT) {
      throw new RangeError(`${name}: ${text.length} characters, expected ≤ ${TEXT_LIMIT}`);
    }
    generate(name, `build/${name}.wasm, ${bytes.length} bytes`, "text", text);
    console.log(`build/${name}.wasm ${bytes.length} bytes`);
  }
}

async function buildUnpacker() {
  // The base folder keeps asc from reading asconfig.json, which is the kernels'.
  await compile([
    ...["unpack.ts", "--baseDir", "assembly/text", "--outFile", "../../build/unpack.wasm"],
    ...[
      "--optimizeLevel",
      "3",
      "--shrinkLevel",
      "2",
      "--noAssert",
      "--runtime",
      "stub",
      "--importMemory",
      "--initialMemory",
      "2",
      "--enable",
      "simd",
    ],
  ]);
  const bytes = readFileSync("build/unpack.wasm");
  generate("unpack", `build/unpack.wasm, ${bytes.length} bytes`, "text", asText(bytes));
}

async function compile(options) {
  const { error, stderr } = await asc.main(options, {});
  if (!error) return;
  console.error(stderr.toString());
  process.exit(1);
}

/** What asc's one round leaves: 3 % of the kernels gzipped, no change in time. */
function optimizeAgain(bytes) {
  const module = binaryen.readBinary(bytes);
  const { BulkMemory, BulkMemoryOpt, MutableGlobals, NontrappingFPToInt, RelaxedSIMD, SIMD128, SignExt } =
    binaryen.Features;
  module.setFeatures(
    BulkMemory | BulkMemoryOpt | MutableGlobals | NontrappingFPToInt | RelaxedSIMD | SIMD128 | SignExt,
  );
  binaryen.setOptimizeLevel(3);
  binaryen.setShrinkLevel(2);
  // As wasm-opt does: what one function calls, into it. asc has other ideas, and the library is one for both.
  binaryen.setAlwaysInlineMaxSize(2);
  binaryen.setFlexibleInlineMaxSize(20);
  binaryen.setOneCallerInlineMaxSize(-1);
  module.optimize();
  module.optimize();
  const smaller = module.emitBinary();
  module.dispose();
  return Buffer.from(smaller);
}

function generate(file, what, name, value) {
  writeFileSync(
    `src/wasm/generated/${file}.ts`,
    `/** ${what}. Made by tools/kernels.js. */\nexport const ${name}: string = ${JSON.stringify(value)};\n`,
  );
}

/**
 * The module with other names for its exports (`renamed`: old name → new), which are 2 % of it, and without those that
 * have none: nobody calls them, tiles are exported so that nothing swallows them before. A worker asks for `relaxed`.
 */
export function renameExports(bytes, renamed) {
  const module = binaryen.readBinary(bytes);
  const names = Array.from(
    { length: module.getNumExports() },
    (_, x) => binaryen.getExportInfo(module.getExportByIndex(x)).name,
  );
  const functions = names.map((name) => [name, binaryen.getExportInfo(module.getExport(name)).value]);
  for (const [name] of functions) module.removeExport(name);
  for (const [name, value] of functions) {
    const short = name === "relaxed" ? name : renamed.get(name);
    if (short) module.addFunctionExport(value, short);
  }
  module.runPasses(["remove-unused-module-elements"]);
  const small = Buffer.from(module.emitBinary());
  module.dispose();
  return small;
}

/** The inverse of assembly/text/unpack.ts. */
export function asText(bytes) {
  return Array.from(bytes, (byte) => {
    const plain = ((byte + 5) & 255) + 36;
    if (plain < 123 && plain !== 92) return String.fromCharCode(plain);
    const rest = (byte - 82) & 255;
    return String.fromCharCode(123 + Math.floor(rest / 57), 35 + rest % 57);
  }).join("");
}

function checkStaticData(name) {
  const text = readFileSync(`build/${name}.wat`, "utf8");
  const heap = /\(global \$~lib\/memory\/__heap_base i32 \(i32\.const (\d+)\)\)/.exec(text);
  const data = [...text.matchAll(/\(data \$[^ ]+ \(i32\.const (\d+)\)/g)].map((match) => Number(match[1]));
  const end = heap ? Number(heap[1]) : Math.max(0, ...data);
  if (end > STATIC_LIMIT) {
    throw new RangeError(`${name}: static data ends at ${end}, expected ≤ ${STATIC_LIMIT}`);
  }
}
