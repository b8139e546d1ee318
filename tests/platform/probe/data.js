/** Seeded numbers and tensors, the same in every engine: 32-bit integer operations alone. */

/** xorshift128 (Marsaglia 2003). */
export function generator(seed) {
  let x = seed | 0 || 1, y = 362436069, z = 521288629, w = 88675123;
  const next = () => {
    const t = x ^ (x << 11);
    x = y;
    y = z;
    z = w;
    w = w ^ (w >>> 19) ^ t ^ (t >>> 8);
    return w >>> 0;
  };
  const below = (n) => next() % n;
  const part = () => next() & 0x1fff;
  return {
    below,
    pick: (...values) => values[below(values.length)],
    chance: (percent) => below(100) < percent,
    /** Multiples of 2^-12 in (−4, 4), bell-shaped: exact in float32. */
    normal: () => (part() + part() + part() + part() - 16382) / 4096,
  };
}

export function tensor(random, shape, dtype = "float32", scale = 1) {
  const length = shape.reduce((a, b) => a * b, 1);
  const { below, chance, normal } = random;
  // 16-bit words of moderate numbers: sign, an exponent near the bias, any mantissa.
  const half = () => (below(2) << 15) | ((12 + below(5)) << 10) | below(1024);
  const brain = () => (below(2) << 15) | ((124 + below(5)) << 7) | below(128);
  const make = {
    bool: () => Uint8Array.from({ length }, () => (chance(70) ? 1 : 0)),
    float32: () => Float32Array.from({ length }, () => normal() * scale),
    float16: () => Uint16Array.from({ length }, half),
    bfloat16: () => Uint16Array.from({ length }, brain),
  };
  return { data: make[dtype](), shape, dtype };
}
