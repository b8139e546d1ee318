/**
 * What happens between Q·Kᵀ and the softmax, on one row of a tile, keys from ≤ j < to (multiples of 4):
 *
 *   x = scale·S → softcap·tanh(x/softcap) → + ALiBi → + bias          score_f32_64
 *   x = −∞ where j is outside [lo, hi) and not below sink              bound_f32_64
 *   x = −∞ where boolean or block mask has a 0                         hide_f32_64 (seen_4x64.ts)
 *
 * Masking, by a bias of −∞ too, selects and never adds: S of a masked key may be NaN.
 */
import { tanhx4 } from "../math/tanh";
import { CAP_LAST, RELATIVE, SLOPED_BIAS, Task } from "../ops/task";

const IOTA: v128 = i32x4(0, 1, 2, 3);

/** `row` counts within the chunk, j0 is the tile's first key. */
export function score_f32_64(t: Task, s_p: usize, row: i32, pos: i32, j0: i32, from: i32, to: i32): void {
  const flags = t.flags;
  const scale = f32x4.splat(t.scale);
  const cap = f32x4.splat(t.softcap);
  const capped = t.softcap > 0;
  const capLast = (flags & CAP_LAST) != 0;
  const sloped = t.slope_p != 0;
  const slope = f32x4.splat(sloped ? load<f32>(t.slope_p + ((<usize> row) << 2)) : 1);
  const alibi = sloped && !(flags & SLOPED_BIAS);
  const step = t.bias_step;
  let bias = t.bias_p;
  if (bias) bias = load<usize>(bias + ((<usize> row) << 2)) + ((<usize> ((j0 - t.key0 + from) * step)) << 2);
  const negInf = f32x4.splat(-Infinity), lowest = f32x4.splat(-f32.MAX_VALUE);
  let distance = i32x4.add(i32x4.splat(j0 + from - pos), IOTA);
  const end = s_p + ((<usize> to) << 2);
  for (let s = s_p + ((<usize> from) << 2); s < end; s += 16) {
    let x = f32x4.mul(v128.load(s), scale);
    if (capped && !capLast) x = f32x4.mul(tanhx4(f32x4.div(x, cap)), cap);
    if (alibi) {
      const d = flags & RELATIVE ? distance : i32x4.neg(i32x4.abs(distance));
      x = f32x4.add(x, f32x4.mul(slope, f32x4.convert_i32x4_s(d)));
      distance = i32x4.add(distance, i32x4.splat(4));
    }
    if (capped && capLast) x = f32x4.mul(tanhx4(f32x4.div(x, cap)), cap);
    if (bias) {
      let y = step ? v128.load(bias) : v128.load32_splat(bias);
      const masked = f32x4.eq(y, negInf);
      // A finite bias that overflows once sloped hides nothing: −∞ would.
      if (flags & SLOPED_BIAS) y = f32x4.pmax(f32x4.mul(y, slope), lowest);
      x = v128.bitselect(negInf, f32x4.add(x, y), masked);
      bias += (<usize> step) << 4;
    }
    v128.store(s, x);
  }
}
