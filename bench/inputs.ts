/** Same numbers at every run: sums of four uniforms, roughly Gaussian with variance 1. */
export function gaussian(size: number, seed: number): Float32Array {
  let x = (seed * 2654435761) | 1;
  const uniform = () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 2 ** 32 - 0.5;
  };
  return Float32Array.from({ length: size }, () => 1.7 * (uniform() + uniform() + uniform() + uniform()));
}
