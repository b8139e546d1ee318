/**
 * rmsnorm: y = x / √(mean(x²) + eps) · w for each row of X[rows,dim] (Zhang and Sennrich 2019, eq. 4).
 *
 * Squares, their sum and the products are float64: a square of a float32 is exact there and cannot overflow, so y is
 * within 0.51 ulp for every finite input. The sum has four lanes (d mod 4), (0+2)+(1+3), then the tail; a row's bits
 * depend on that row alone. y may be x.
 */
export function rmsnorm_f32(x_p: usize, w_p: usize, y_p: usize, rows: i32, dim: i32, eps: f64): void {
  const row = (<usize> dim) << 2;
  const full = (<usize> (dim & ~3)) << 2;
  for (let i = 0; i < rows; i++) {
    let low = f64x2.splat(0), high = low;
    let o: usize = 0;
    for (; o < full; o += 16) {
      const x = v128.load(x_p + o);
      const a = f64x2.promote_low_f32x4(x), b = f64x2.promote_low_f32x4(v128.shuffle<f64>(x, x, 1, 1));
      low = f64x2.add(low, f64x2.mul(a, a));
      high = f64x2.add(high, f64x2.mul(b, b));
    }
    const pair = f64x2.add(low, high);
    let sum = f64x2.extract_lane(pair, 0) + f64x2.extract_lane(pair, 1);
    for (; o < row; o += 4) {
      const x = <f64> load<f32>(x_p + o);
      sum += x * x;
    }
    const r = 1 / Math.sqrt(sum / dim + eps);
    const scale = f64x2.splat(r);
    for (o = 0; o < full; o += 16) {
      const x = v128.load(x_p + o), w = v128.load(w_p + o);
      const a = f64x2.mul(f64x2.promote_low_f32x4(x), scale);
      const b = f64x2.mul(f64x2.promote_low_f32x4(v128.shuffle<f64>(x, x, 1, 1)), scale);
      const y = f32x4.demote_f64x2_zero(f64x2.mul(a, f64x2.promote_low_f32x4(w)));
      const z = f32x4.demote_f64x2_zero(
        f64x2.mul(b, f64x2.promote_low_f32x4(v128.shuffle<f64>(w, w, 1, 1))),
      );
      v128.store(y_p + o, v128.shuffle<f64>(y, z, 0, 2));
    }
    for (; o < row; o += 4) {
      store<f32>(y_p + o, <f32> (<f64> load<f32>(x_p + o) * r * <f64> load<f32>(w_p + o)));
    }
    x_p += row;
    y_p += row;
  }
}

/** rmsnorm_f32 in scalars: the same bits. */
export function rmsnorm_f32_scalar(
  x_p: usize,
  w_p: usize,
  y_p: usize,
  rows: i32,
  dim: i32,
  eps: f64,
): void {
  const full = dim & ~3;
  for (let i = 0; i < rows; i++) {
    const x = x_p + (<usize> (i * dim) << 2), y = y_p + (<usize> (i * dim) << 2);
    let s0: f64 = 0, s1: f64 = 0, s2: f64 = 0, s3: f64 = 0;
    for (let d = 0; d < full; d += 4) {
      s0 += square(x, d);
      s1 += square(x, d + 1);
      s2 += square(x, d + 2);
      s3 += square(x, d + 3);
    }
    let sum = s0 + s2 + (s1 + s3);
    for (let d = full; d < dim; d++) sum += square(x, d);
    const r = 1 / Math.sqrt(sum / dim + eps);
    for (let d = 0; d < dim; d++) {
      const o = <usize> d << 2;
      store<f32>(y + o, <f32> (<f64> load<f32>(x + o) * r * <f64> load<f32>(w_p + o)));
    }
  }
}

function square(x_p: usize, d: i32): f64 {
  const x = <f64> load<f32>(x_p + (<usize> d << 2));
  return x * x;
}
