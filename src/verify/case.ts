/**
 * Attention case files: a safetensors file of inputs and expected outputs, with the options as JSON in
 * `__metadata__.attention`. The one place that knows both the file's names and ours.
 *
 *   tensors   q k v   mask bias sink alibi_slopes key_lengths cu_seqlens_q cu_seqlens_k dout dlse
 *   expected  o lse dq dk dv dbias dsink
 *   JSON      layout scale causal align window softcap chunk sink_tokens semantics dropout lse_includes_sink
 *
 * `tags`, `note`, `float32_error` and what starts with `x_` is ignored, among the metadata and inside the JSON; any
 * other name that isn't here fails the case, so that no option is ever dropped in silence.
 */
import { printable } from "../io/fault.ts";
import { readSafetensors, type Safetensors } from "../io/safetensors.ts";
import type { FileTensor } from "../io/tensor.ts";
import type { AttentionOptions, Dropout, Layout, PerHead, Window } from "../options.ts";
import type { Precision } from "../precision.ts";
import { type Align, defaults, presets, type Semantics, type SemanticsName } from "../semantics.ts";

/** Names of the outputs, in the order in which they are reported. */
export const OUTPUTS = ["o", "lse", "dq", "dk", "dv", "dbias", "dsink"] as const;
/** Those that a precision is for: gradients have none but float32. */
export const FORWARD_OUTPUTS = ["o", "lse"] as const;
export type OutputName = (typeof OUTPUTS)[number];

export interface Case {
  readonly name: string;
  readonly q: FileTensor;
  readonly k: FileTensor;
  readonly v: FileTensor;
  readonly options: AttentionOptions;
  /** Gradients that come in, where the case has a backward pass. */
  readonly dout: FileTensor | null;
  readonly dlse: FileTensor | null;
  readonly expected: ReadonlyMap<OutputName, FileTensor>;
}

/** A readable file that cannot pass: it asks for something that flashtile, or this back end, doesn't have. */
export class CaseFailure extends Error {
  override readonly name = "CaseFailure";
}

const INPUTS: ReadonlySet<string> = new Set([
  ...["q", "k", "v", "mask", "bias", "sink", "alibi_slopes", "key_lengths", "cu_seqlens_q", "cu_seqlens_k"],
  ...["dout", "dlse"],
]);
const EXPECTED: ReadonlySet<string> = new Set(OUTPUTS);
const KEYS: ReadonlySet<string> = new Set([
  ...["layout", "scale", "causal", "align", "window", "softcap", "chunk", "sink_tokens", "semantics"],
  ...["dropout", "lse_includes_sink"],
]);

/**
 * Reads a case file.
 *
 * @throws {SyntaxError} The file is broken; the message names file and field.
 * @throws {CaseFailure} It holds a tensor or a key that flashtile doesn't know.
 */
export function readCase(bytes: Uint8Array, name: string): Case {
  return caseOf(readSafetensors(bytes, { name }), name);
}

/** The case in a file that has been read. */
export function caseOf({ metadata, tensors }: Safetensors, name: string): Case {
  for (const tensor of tensors.keys()) {
    if (!INPUTS.has(tensor) && !EXPECTED.has(tensor)) throw unknown("tensor", tensor);
  }
  for (const key of Object.keys(metadata)) {
    if (key !== "attention" && !isIgnored(key)) throw unknown("metadata", key);
  }
  const json = parseOptions(metadata["attention"], name);
  for (const key of Object.keys(json)) {
    if (!KEYS.has(key) && !isIgnored(key)) throw unknown("option", key);
  }
  const need = (tensor: string) => {
    const found = tensors.get(tensor);
    if (!found) throw new SyntaxError(`${name}: ${tensor}: expected a tensor, got none`);
    return found;
  };
  return {
    name,
    q: need("q"),
    k: need("k"),
    v: need("v"),
    options: { ...optionsOf(json), ...tensorOptions(tensors, name) },
    dout: tensors.get("dout") ?? null,
    dlse: tensors.get("dlse") ?? null,
    expected: new Map(OUTPUTS.flatMap((output) => {
      const tensor = tensors.get(output);
      return tensor ? [[output, tensor] as const] : [];
    })),
  };
}

function isIgnored(key: string): boolean {
  return key === "tags" || key === "note" || key === "float32_error" || key.startsWith("x_");
}

function unknown(kind: string, key: string): CaseFailure {
  return new CaseFailure(`${printable(key)}: unknown ${kind}`);
}

type Json = Readonly<Record<string, unknown>>;

function parseOptions(text: string | undefined, name: string): Json {
  if (text === undefined) throw new SyntaxError(`${name}: __metadata__.attention: expected JSON, got none`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new SyntaxError(`${name}: __metadata__.attention: expected JSON, got ${printable(text)}`);
  }
  if (json === null || typeof json !== "object" || Array.isArray(json)) {
    throw new SyntaxError(`${name}: __metadata__.attention: expected an object, got ${printable(text)}`);
  }
  return json as Json;
}

/** null is "not given"; what the values must be is the door's to check (src/problem.ts). */
function optionsOf(json: Json): AttentionOptions {
  const options: { -readonly [name in keyof AttentionOptions]: AttentionOptions[name] } = { lse: true };
  const given = (key: string) => json[key] !== undefined && json[key] !== null;
  if (given("layout")) options.layout = json["layout"] as Layout;
  if (given("scale")) options.scale = numbers(json["scale"]) as number;
  if (given("causal")) options.causal = json["causal"] as boolean;
  if (given("align")) options.align = numbers(json["align"]) as Align;
  if (given("window")) options.window = numbers(json["window"]) as PerHead<Window>;
  if (given("softcap")) options.softcap = numbers(json["softcap"]) as number;
  if (given("chunk")) options.chunk = json["chunk"] as number;
  if (given("sink_tokens")) options.sinkTokens = json["sink_tokens"] as PerHead<number>;
  if (given("dropout")) options.dropout = json["dropout"] as Dropout;
  const lseIncludesSink = json["lse_includes_sink"] ?? false;
  if (typeof lseIncludesSink !== "boolean") {
    throw new TypeError(`lse_includes_sink: expected true or false, got ${JSON.stringify(lseIncludesSink)}`);
  }
  options.semantics = { ...semanticsOf(json["semantics"]), lseIncludesSink };
  return options;
}

/** A preset's name or a record of switches → the whole record, so that single switches can be changed. */
function semanticsOf(value: unknown): Semantics {
  if (value === undefined || value === null) return defaults;
  if (typeof value === "object") return { ...defaults, ...value };
  if (typeof value === "string" && Object.hasOwn(presets, value)) return presets[value as SemanticsName];
  throw new CaseFailure(
    `semantics: expected one of ${Object.keys(presets).join(", ")}, got ${printable(JSON.stringify(value))}`,
  );
}

/** "inf" and "-inf", at any depth, are numbers that JSON cannot write. */
function numbers(value: unknown): unknown {
  if (value === "inf") return Infinity;
  if (value === "-inf") return -Infinity;
  if (Array.isArray(value)) return value.map(numbers);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, numbers(item)]));
  }
  return value;
}

function tensorOptions(tensors: ReadonlyMap<string, FileTensor>, name: string): AttentionOptions {
  const take = <K extends keyof AttentionOptions>(option: K, tensor: string) => {
    const found = tensors.get(tensor);
    return found ? { [option]: found } : {};
  };
  const cuQ = tensors.get("cu_seqlens_q");
  const cuK = tensors.get("cu_seqlens_k");
  if (!cuQ !== !cuK) {
    const missing = cuQ ? "cu_seqlens_k" : "cu_seqlens_q";
    throw new SyntaxError(`${name}: ${missing}: expected a tensor like its twin, got none`);
  }
  return {
    ...take("mask", "mask"),
    ...take("bias", "bias"),
    ...take("sink", "sink"),
    ...take("alibiSlopes", "alibi_slopes"),
    ...take("keyLengths", "key_lengths"),
    ...(cuQ && cuK && { cuSeqlens: { q: cuQ, k: cuK } }),
  };
}

/** The same case in another precision than float32. */
export function inPrecision(content: Case, precision: Precision | undefined): Case {
  if (precision === undefined || precision === "float32") return content;
  return { ...content, options: { ...content.options, precision } };
}

/** Our names → the file's, for messages of the door. */
const FILE_NAMES: readonly (readonly [RegExp, string])[] = [
  [/^alibiSlopes\b/, "alibi_slopes"],
  [/^keyLengths\b/, "key_lengths"],
  [/^cuSeqlens\.([qk])\b/, "cu_seqlens_$1"],
  [/^cuSeqlens\b/, "cu_seqlens_q"],
  [/^sinkTokens\b/, "sink_tokens"],
  [/^dOut\b/, "dout"],
  [/^dLse\b/, "dlse"],
];

/** A message of the door in the words of the file. */
export function inFileTerms(message: string): string {
  return FILE_NAMES.reduce((text, [ours, theirs]) => text.replace(ours, theirs), message);
}
