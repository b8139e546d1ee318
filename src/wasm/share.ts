/**
 * The shared flavour of a build: the same kernels over a memory that threads share.
 *
 * The two flavours differ in one byte, the limits flag of the memory import (core specification §5.3.6: 0x01 has a
 * maximum, 0x03 has a maximum and is shared), so one binary ships and this turns it into the other.
 */

const IMPORT_SECTION = 2;
const MEMORY = 2;
const HAS_MAXIMUM = 0x01;
const SHARED = 0x03;

/** A copy of the module's bytes whose imported memory is shared. */
export function shared(bytes: Uint8Array): Uint8Array {
  let at = 8;
  /** Unsigned LEB128: 7 bits a byte, low first. */
  const number = (): number => {
    let value = 0;
    for (let shift = 0;; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  };
  while (at < bytes.length) {
    const id = bytes[at++];
    const size = number();
    if (id !== IMPORT_SECTION) {
      at += size;
      continue;
    }
    const count = number();
    for (let n = 0; n < count; n++) {
      // Module name, field name.
      for (let name = 0; name < 2; name++) {
        const length = number();
        at += length;
      }
      const kind = bytes[at++];
      if (kind !== MEMORY) {
        throw new SyntaxError(`kernels: expected to import a memory alone, found kind ${kind}`);
      }
      if (bytes[at] !== HAS_MAXIMUM) {
        throw new SyntaxError(
          `kernels: expected an unshared memory with a maximum, found limits ${bytes[at]}`,
        );
      }
      const copy = bytes.slice();
      copy[at] = SHARED;
      return copy;
    }
  }
  throw new SyntaxError("kernels: expected a memory import, found none");
}
