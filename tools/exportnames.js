/** A module's bytes with other names for its exports (core specification, §5.5.10): 2 % of the kernels are names. */

const EXPORTS = 7;

/** `renamed`: old name → new; what it does not list keeps its name. */
export function renameExports(bytes, renamed) {
  let at = 8;
  const number = () => {
    let value = 0;
    for (let shift = 0;; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const out = [...bytes.subarray(0, at)];
  while (at < bytes.length) {
    const id = bytes[at++];
    const size = number();
    const end = at + size;
    const body = id === EXPORTS ? [] : [...bytes.subarray(at, end)];
    if (id === EXPORTS) {
      const count = number();
      body.push(...leb(count));
      for (let n = 0; n < count; n++) {
        const length = number();
        const name = bytes.subarray(at, at += length).toString();
        const short = Buffer.from(renamed.get(name) ?? name);
        const kind = bytes[at++];
        body.push(...leb(short.length), ...short, kind, ...leb(number()));
      }
    }
    out.push(id, ...leb(body.length), ...body);
    at = end;
  }
  return Buffer.from(out);
}

/** Unsigned LEB128: 7 bits a byte, low first. */
function leb(value) {
  const bytes = [];
  for (; value > 0x7f; value >>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}
