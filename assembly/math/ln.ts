/**
 * ln of a positive float64 from + − × ÷ and bit operations: x = 2^n·y, y in [√½, √2), ln y = 2·artanh((y−1)/(y+1))
 * to the 21st power: error < 1e-16 from the series (|s| ≤ 0.1716, s^23/23), < 3 ulp with rounding. ln 0 = −∞,
 * ln ∞ = ∞, NaN → NaN. Normal numbers only: l is a sum of float32.
 */
export function ln(x: f64): f64 {
  if (x == 0) return -Infinity;
  if (!(x < Infinity)) return x;
  const bits = reinterpret<i64>(x);
  // Subtracting √½'s bits before the exponent is cut off centres y on 1.
  const n = (bits - 0x3fe6a09e667f3bcd) >> 52;
  const y = reinterpret<f64>(bits - (n << 52));
  const s = (y - 1) / (y + 1);
  const z = s * s;
  let p: f64 = 1.0 / 21;
  p = p * z + 1.0 / 19;
  p = p * z + 1.0 / 17;
  p = p * z + 1.0 / 15;
  p = p * z + 1.0 / 13;
  p = p * z + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  return <f64> n * 0.6931471805599453 + 2 * (s + s * z * p);
}
