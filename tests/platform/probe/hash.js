/** SHA-256 of tensors, NaN made canonical: its sign and payload are the one thing WebAssembly leaves open. */

const NAN = { Float32Array: 0x7fc00000, Float64Array: 0x7ff80000 };

export function hashOf(tensors) {
  const parts = tensors.map(({ data }) => littleEndian(data));
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return sha256(whole);
}

export async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function littleEndian(data) {
  const size = data.BYTES_PER_ELEMENT;
  const bytes = new Uint8Array(data.length * size);
  const view = new DataView(bytes.buffer);
  const nan = NAN[data.constructor.name];
  if (nan === undefined) {
    throw new TypeError(`expected floats, got ${data.constructor.name}`);
  }
  data.forEach((x, i) => {
    if (x !== x) view.setUint32(i * size + size - 4, nan, true);
    else if (size === 4) view.setFloat32(i * size, x, true);
    else view.setFloat64(i * size, x, true);
  });
  return bytes;
}
