// deno-fmt-ignore-file: deno fmt deletes @inline, and what isn't inlined here halves the loops that call it.
/**
 * rotary: rotates the first `dims` of each head by the angles of its token's position (Su et al. 2021, eq. 34):
 * y_a = x_a·cos − x_b·sin, y_b = x_b·cos + x_a·sin, where the pair (a, b) is (d, d + dims/2), half-split, or
 * (2d, 2d+1), interleaved. The tables are [positions, dims/2]; the other head dims − dims pass unchanged.
 *
 * X[tokens,heads,width] with strides in elements, so that bnhd and bhnd are both read in place; y may be x with x's
 * strides, or lie elsewhere (a KV cache) with its own. Two products, one sum, no fused step: the same bits in both
 * builds, |error| ≤ 1.5ε·(|x_a·cos| + |x_b·sin|).
 */
export function rotary_f32(
  x_p: usize,
  y_p: usize,
  cos_p: usize,
  sin_p: usize,
  positions_p: usize,
  tokens: i32,
  heads: i32,
  width: i32,
  dims: i32,
  x_token: i32,
  x_head: i32,
  y_token: i32,
  y_head: i32,
  interleaved: i32,
): void {
  const half = dims >> 1;
  for (let i = 0; i < tokens; i++) {
    const at = <usize> (load<i32>(positions_p + (<usize> i << 2)) * half) << 2;
    for (let h = 0; h < heads; h++) {
      const x = x_p + (<usize> (i * x_token + h * x_head) << 2);
      const y = y_p + (<usize> (i * y_token + h * y_head) << 2);
      if (interleaved) rotate_pairs(x, y, cos_p + at, sin_p + at, half);
      else rotate_halves(x, y, cos_p + at, sin_p + at, half);
      if (x != y) copy(x + (<usize> dims << 2), y + (<usize> dims << 2), width - dims);
    }
  }
}

function rotate_halves(x_p: usize, y_p: usize, cos_p: usize, sin_p: usize, half: i32): void {
  const b_p = x_p + (<usize> half << 2), d_p = y_p + (<usize> half << 2);
  let o: usize = 0;
  for (const end = <usize> (half & ~3) << 2; o < end; o += 16) {
    const a = v128.load(x_p + o), b = v128.load(b_p + o);
    const cos = v128.load(cos_p + o), sin = v128.load(sin_p + o);
    v128.store(y_p + o, f32x4.sub(f32x4.mul(a, cos), f32x4.mul(b, sin)));
    v128.store(d_p + o, f32x4.add(f32x4.mul(b, cos), f32x4.mul(a, sin)));
  }
  for (const end = <usize> half << 2; o < end; o += 4) {
    rotate(x_p + o, b_p + o, y_p + o, d_p + o, cos_p + o, sin_p + o);
  }
}

function rotate_pairs(x_p: usize, y_p: usize, cos_p: usize, sin_p: usize, half: i32): void {
  let o: usize = 0;
  for (const end = <usize> (half & ~3) << 2; o < end; o += 16) {
    const s = v128.load(x_p + 2 * o), t = v128.load(x_p + 2 * o, 16);
    const a = v128.shuffle<f32>(s, t, 0, 2, 4, 6), b = v128.shuffle<f32>(s, t, 1, 3, 5, 7);
    const cos = v128.load(cos_p + o), sin = v128.load(sin_p + o);
    const c = f32x4.sub(f32x4.mul(a, cos), f32x4.mul(b, sin));
    const d = f32x4.add(f32x4.mul(b, cos), f32x4.mul(a, sin));
    v128.store(y_p + 2 * o, v128.shuffle<f32>(c, d, 0, 4, 1, 5));
    v128.store(y_p + 2 * o, v128.shuffle<f32>(c, d, 2, 6, 3, 7), 16);
  }
  for (const end = <usize> half << 2; o < end; o += 4) {
    rotate(x_p + 2 * o, x_p + 2 * o + 4, y_p + 2 * o, y_p + 2 * o + 4, cos_p + o, sin_p + o);
  }
}

// @ts-ignore: decorator
@inline
function rotate(a_p: usize, b_p: usize, c_p: usize, d_p: usize, cos_p: usize, sin_p: usize): void {
  const a = load<f32>(a_p), b = load<f32>(b_p), cos = load<f32>(cos_p), sin = load<f32>(sin_p);
  store<f32>(c_p, a * cos - b * sin);
  store<f32>(d_p, b * cos + a * sin);
}

function copy(x_p: usize, y_p: usize, count: i32): void {
  for (const end = x_p + (<usize> count << 2); x_p < end; x_p += 4) {
    store<f32>(y_p, load<f32>(x_p));
    y_p += 4;
  }
}

/** rotary_f32 in scalars: the same bits. */
export function rotary_f32_scalar(
  x_p: usize,
  y_p: usize,
  cos_p: usize,
  sin_p: usize,
  positions_p: usize,
  tokens: i32,
  heads: i32,
  width: i32,
  dims: i32,
  x_token: i32,
  x_head: i32,
  y_token: i32,
  y_head: i32,
  interleaved: i32,
): void {
  const half = dims >> 1;
  const step = interleaved ? 2 : 1, apart = <usize> (interleaved ? 1 : half) << 2;
  for (let i = 0; i < tokens; i++) {
    const position = load<i32>(positions_p + (<usize> i << 2));
    for (let h = 0; h < heads; h++) {
      const x = x_p + (<usize> (i * x_token + h * x_head) << 2);
      const y = y_p + (<usize> (i * y_token + h * y_head) << 2);
      for (let d = 0; d < half; d++) {
        const t = <usize> (position * half + d) << 2, o = <usize> (d * step) << 2;
        rotate(x + o, x + o + apart, y + o, y + o + apart, cos_p + t, sin_p + t);
      }
      copy(x + (<usize> dims << 2), y + (<usize> dims << 2), width - dims);
    }
  }
}
