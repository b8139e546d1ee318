import { load_tail } from "./lanes";

/** How many rows the tile works on that takes row `row` of `rows`, in groups of 4: 4, 2 or 1. */
export function tile_rows(rows: i32, row: i32): i32 {
  const left = rows - row;
  return left > 2 ? 4 : left;
}

/**
 * Q rows r = h·n + i at src_p + h·head + i·token (elements) → groups of 4 rows as qk_rows.ts reads them, [⌈D/4⌉][4][4],
 * × mul; a last group of one or two rows is packed as one or two rows, of three padded with zeros.
 */
export function pack_q_rows_f32(
  src_p: usize,
  dst_p: usize,
  heads: i32,
  n: i32,
  head: i32,
  token: i32,
  D: i32,
  mul: f32,
): void {
  const rows = heads * n, full = D & ~3;
  const vectors = (<usize> (D + 3)) >> 2;
  const m = f32x4.splat(mul);
  for (let r0 = 0; r0 < rows; r0 += 4) {
    const width = tile_rows(rows, r0);
    for (let r = 0; r < width; r++) {
      let to = dst_p + (<usize> r << 4);
      const h = (r0 + r) / n, i = (r0 + r) % n;
      const from = src_p + (<usize> (h * head + i * token) << 2);
      const live = r0 + r < rows;
      for (let d = 0; d < D; d += 4) {
        const at = from + (<usize> d << 2);
        let q = f32x4.splat(0);
        if (live) q = d < full ? v128.load(at) : load_tail<f32>(at, D & 3);
        v128.store(to, f32x4.mul(q, m));
        to += <usize> width << 4;
      }
    }
    dst_p += vectors * (<usize> width << 4);
  }
}
