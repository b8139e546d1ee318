/**
 * Rows of a caller's tensor → dense float32 rows in linear memory: the one place where layouts, strides and 16-bit
 * floats are dealt with. Contiguous rows are one `set`; strided rows one `set` each; 16-bit words travel as words and
 * are decoded by the kernels; anything else is gathered element by element.
 */
import type { Engine } from "../wasm/load.ts";
import { elementReader, elements, type View } from "../tensor.ts";

/** Floats a slice should hold: 64 KiB, so that what was staged is still in L2 when it is packed. */
const SLICE = 16384;

export interface Stage {
  /** Where the staged rows start; ld = width. */
  readonly at: number;
  /** Rows of `width` that fit, a multiple of 64. */
  readonly rows: number;
}

/** Rows of at most `width` that a slice holds. */
export function sliceRows(width: number): number {
  return Math.max(64, Math.floor(SLICE / width / 64) * 64);
}

/** Bytes to allocate for a stage: float32 rows, behind them room for the same rows as 16-bit words. */
export function stageBytes(width: number): number {
  return sliceRows(width) * width * 6 + 128;
}

/**
 * Elements of a tensor that caches hold: packing in place spares a copy (1.21 → 0.84 ms for one query of 32 heads over 1024
 * keys of 8), but reads four or eight rows at once, which from memory takes a fifth longer than copying slices first.
 */
const CACHED = 2 ** 21;

/** Number of the first element of row i of (b, h). */
export function elementAt({ offset, strides }: View, b: number, h: number, i: number): number {
  return offset + b * strides[0] + h * strides[1] + i * strides[2];
}

/** Address of element 0 if rows of the view lie in this memory one after the other, as the kernels read them; or 0. */
export function inPlace({ arena }: Engine, source: View): number {
  const { resident, dtype } = source;
  if (resident?.memory !== arena.memory || resident.length > CACHED || dtype !== "float32") return 0;
  return dense(source) ? resident.at : 0;
}

/** Rows of the view follow one another. */
export function dense({ strides, shape }: View): boolean {
  const width = shape[3];
  return strides[2] === width && (width === 1 || strides[3] === 1);
}

/** Copies `count` rows of [·, ·, row, width] that start at element `first` to staged row `to`. */
export function stageRows(
  { arena, kernels }: Engine,
  stage: Stage,
  source: View,
  first: number,
  count: number,
  to: number,
): void {
  if (count <= 0) return;
  const width = source.shape[3];
  const row = source.strides[2];
  const column = width === 1 ? 1 : source.strides[3];
  const target = stage.at + to * width * 4;
  const n = count * width;
  if (column === 1 && source.dtype === "float32") {
    copyRows(arena.floats, target >> 2, width, elements(source) as Float32Array, first, row, width, count);
  } else if (column === 1 && (source.dtype === "float16" || source.dtype === "bfloat16")) {
    const words = stage.at + stage.rows * width * 4 + 64;
    copyRows(arena.u16(words, n), 0, width, elements(source) as Uint16Array, first, row, width, count);
    if (source.dtype === "float16") kernels.convert_f16_f32(words, target, n);
    else kernels.convert_bf16_f32(words, target, n);
  } else {
    const out = arena.f32(target, n);
    const read = elementReader(source);
    const step = source.strides[3];
    for (let i = 0, at = 0; i < count; i++) {
      for (let d = 0; d < width; d++) out[at++] = read(first + i * row + d * step);
    }
  }
}

/** `rows` of `width` elements from `at` on, `step` apart, to where they are `toStep` apart from `to` on. */
export function copyRows<T extends Float32Array | Uint16Array>(
  target: T,
  to: number,
  toStep: number,
  data: T,
  at: number,
  step: number,
  width: number,
  rows: number,
): void {
  if (rows === 1 || (step === width && toStep === width)) {
    target.set(data.subarray(at, at + rows * width), to);
    return;
  }
  for (let i = 0; i < rows; i++, to += toStep, at += step) {
    for (let e = 0; e < width; e++) target[to + e] = data[at + e];
  }
}
