/** The shipped model, its float64 logits (PyTorch, models/moby/train.py) and the text it has never seen. */
import { readFileSync } from "node:fs";
import { readSafetensors } from "../../src/io/safetensors.ts";
import { parseConfig } from "../../src/model/config.ts";
import { readWeights } from "../../src/model/weights.ts";

const folder = new URL("../../models/moby/", import.meta.url);
const file = (name: string) => new Uint8Array(readFileSync(new URL(name, folder)));

export const config = parseConfig(new TextDecoder().decode(file("config.json")));
export const weights = readWeights(readSafetensors(file("model.safetensors")).tensors, config);
export const heldOut = file("heldout-moby.txt");
const expected = readSafetensors(file("logits.safetensors")).tensors;
/** The first 512 bytes of heldOut, and the logits [512,256] behind each of them. */
export const tokens = expected.get("tokens")!.data as Uint8Array;
export const logits = expected.get("logits")!.data as Float64Array;
export const metrics = JSON.parse(new TextDecoder().decode(file("metrics.json"))) as {
  first_1024_moby_bits_per_byte_float64: number;
};
