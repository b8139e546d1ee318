/**
 * The ceiling that benchmarks are measured against: multiply-add on registers alone, no memory, no dependences that
 * matter (12 chains of x ← x·a + b). 96 flops a step; what is quoted as "% of the canary" is this loop's rate at the
 * same moment on the same core.
 */
import { madd } from "./madd";

export function canary(steps: i32, a: f32, b: f32): f32 {
  const aa = f32x4.splat(a), bb = f32x4.splat(b);
  let x0 = bb, x1 = bb, x2 = bb, x3 = bb, x4 = bb, x5 = bb;
  let x6 = bb, x7 = bb, x8 = bb, x9 = bb, x10 = bb, x11 = bb;
  do {
    x0 = madd(x0, aa, bb);
    x1 = madd(x1, aa, bb);
    x2 = madd(x2, aa, bb);
    x3 = madd(x3, aa, bb);
    x4 = madd(x4, aa, bb);
    x5 = madd(x5, aa, bb);
    x6 = madd(x6, aa, bb);
    x7 = madd(x7, aa, bb);
    x8 = madd(x8, aa, bb);
    x9 = madd(x9, aa, bb);
    x10 = madd(x10, aa, bb);
    x11 = madd(x11, aa, bb);
  } while (--steps);
  const y = f32x4.add(
    f32x4.add(f32x4.add(x0, x1), f32x4.add(x2, x3)),
    f32x4.add(
      f32x4.add(f32x4.add(x4, x5), f32x4.add(x6, x7)),
      f32x4.add(f32x4.add(x8, x9), f32x4.add(x10, x11)),
    ),
  );
  return f32x4.extract_lane(y, 0) + f32x4.extract_lane(y, 1) + f32x4.extract_lane(y, 2) +
    f32x4.extract_lane(y, 3);
}
