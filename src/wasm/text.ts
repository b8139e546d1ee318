/** Kernels travel as text (assembly/text/unpack.ts says how): a module of 200 bytes makes bytes of it again. */
import { base64 } from "./generated/unpack.ts";

interface Unpacker {
  readonly memory: WebAssembly.Memory;
  /** Bytes made of this many characters from address 0 on; returns where they end, from 65536. */
  unpack(length: number): number;
}

export function fromText(text: string): Uint8Array {
  const module = new WebAssembly.Module(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
  const { memory, unpack } = new WebAssembly.Instance(module).exports as unknown as Unpacker;
  new TextEncoder().encodeInto(text, new Uint8Array(memory.buffer));
  return new Uint8Array(memory.buffer).slice(65536, unpack(text.length));
}
