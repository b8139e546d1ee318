/** rmsnorm: y = x / √(mean(x²) + eps) · w for each row of X[rows,dim] (Zhang and Sennrich 2019, eq. 4). float64. */
export function rmsnorm(
  x: Float64Array,
  w: Float64Array,
  { rows, dim, eps }: { rows: number; dim: number; eps: number },
): Float64Array {
  const y = new Float64Array(rows * dim);
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let d = 0; d < dim; d++) sum += x[i * dim + d]! ** 2;
    const r = 1 / Math.sqrt(sum / dim + eps);
    for (let d = 0; d < dim; d++) y[i * dim + d] = x[i * dim + d]! * r * w[d]!;
  }
  return y;
}
