/**
 * float16 and bfloat16 words → float32, exact, 8 words a step: reads up to 14 bytes past the source and writes up to
 * 28 bytes past the destination's end.
 */
import { load_bf16x4, load_f16x4 } from "../math/half";

export function convert_f16_f32(src_p: usize, dst_p: usize, n: i32): void {
  const end = dst_p + ((<usize> n) << 2);
  for (; dst_p < end; src_p += 16, dst_p += 32) {
    const a = load_f16x4(src_p), b = load_f16x4(src_p + 8);
    v128.store(dst_p, a);
    v128.store(dst_p, b, 16);
  }
}

export function convert_bf16_f32(src_p: usize, dst_p: usize, n: i32): void {
  const end = dst_p + ((<usize> n) << 2);
  for (; dst_p < end; src_p += 16, dst_p += 32) {
    const a = load_bf16x4(src_p), b = load_bf16x4(src_p + 8);
    v128.store(dst_p, a);
    v128.store(dst_p, b, 16);
  }
}
