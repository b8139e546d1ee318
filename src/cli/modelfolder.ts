/** A model's folder: config.json and model.safetensors in the Hugging Face layout, found and read. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { readSafetensors } from "../io/safetensors.ts";
import type { FileTensor } from "../io/tensor.ts";
import { type LlamaConfig, parseConfig } from "../model/config.ts";
import { type ModelWeights, readWeights } from "../model/weights.ts";
import { readBytes } from "./files.ts";
import { InputError } from "./io.ts";

/** The model that the repository ships, seen from the package's root. */
const SHIPPED = "models/moby";

/** `asked`, or the shipped model: a checkout has it, the npm package has not. */
export function findModel(asked: string | undefined): string {
  if (asked !== undefined) return asked;
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json")) && dirname(folder) !== folder) folder = dirname(folder);
  const shipped = join(folder, SHIPPED);
  if (existsSync(join(shipped, "config.json"))) return shipped;
  throw new InputError(
    `--model: expected a folder with config.json and model.safetensors (the npm package ships no model; ` +
      `the repository has one in ${SHIPPED}), got none`,
  );
}

/** @throws {InputError} No such file. @throws {SyntaxError} A field that is wrong; both name file and field. */
export function readConfig(folder: string): LlamaConfig {
  const path = join(folder, "config.json");
  return parseConfig(new TextDecoder().decode(readBytes(path)), path);
}

/** @throws {InputError} No such file. @throws {SyntaxError} A tensor that is wrong; both name file and tensor. */
export function readModel(folder: string, config: LlamaConfig): ModelWeights<FileTensor> {
  const path = join(folder, "model.safetensors");
  return readWeights(readSafetensors(readBytes(path), { name: path }).tensors, config, path);
}
