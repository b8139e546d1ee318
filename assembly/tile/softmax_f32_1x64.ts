/**
 * softmax_f32_4x64 for a row that is alone: the same arithmetic, the same bits, a quarter of the work. At 16 exponents
 * for 8 KiB of K and V (D = 16) that is felt, at D = 128 it is 2 % of the time. z_p: 256 bytes to work in.
 */
import { rowMax } from "./row_max";
import { expRow, rescale, TAU } from "./softmax_f32_4x64";

export function softmax_f32_1x64(
  s_p: usize,
  from: i32,
  to: i32,
  c: f32,
  m_p: usize,
  l_p: usize,
  o_p: usize,
  strips: i32,
  z_p: usize,
): void {
  const start = s_p + ((<usize> from) << 2);
  const span = (<usize> (to - from)) << 2;
  const old = load<f32>(m_p);
  const x = rowMax(start, start + span);
  // pmax(a, b) = a < b ? b : a, as there: NaN never wins.
  const y = f32x4.pmax(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  const top = f32x4.extract_lane(f32x4.pmax(y, v128.shuffle<f32>(y, y, 1, 0, 3, 2)), 0);
  let m = old < top ? top : old;
  if ((m - old) * c > TAU) {
    store<f32>(m_p, m);
    rescale(old, m, c, l_p, o_p, strips);
  } else m = old;
  if (m == -Infinity) m = 0;
  const p = expRow(start, span, f32x4.splat(m), f32x4.splat(c), z_p);
  const sum = (f32x4.extract_lane(p, 0) + f32x4.extract_lane(p, 2)) +
    (f32x4.extract_lane(p, 1) + f32x4.extract_lane(p, 3));
  store<f32>(l_p, load<f32>(l_p) + sum);
}
