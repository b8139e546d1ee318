/**
 * What this engine can run, found by validating tiny modules: validation neither compiles nor runs anything, so it
 * works under every content security policy and in workerd.
 */

// (module (type (func (param v128))))
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 1, 123, 0];
// (module (func (param v128) (drop (f32x4.relaxed_madd (local.get 0) (local.get 0) (local.get 0)))))
const RELAXED = [
  ...SIMD,
  ...[3, 2, 1, 0, 10, 14, 1, 12, 0, 32, 0, 32, 0, 32, 0, 253, 133, 2, 26, 11],
];

function validates(bytes: number[]): boolean {
  return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(bytes));
}

/** 128-bit SIMD: every engine since 2021–23. */
export function hasSimd(): boolean {
  return validates(SIMD);
}

/** Relaxed SIMD (fused multiply-add): V8 ≥ 11.4, SpiderMonkey ≥ 145, not in Node 20. */
export function hasRelaxedSimd(): boolean {
  return validates(RELAXED);
}

/** Of what the relaxed kernels need, for the message of NO_SIMD. */
export function lacksRelaxed(): string | null {
  return hasRelaxedSimd() ? null : "relaxed SIMD; the deterministic kernels and flashtile/reference work";
}
