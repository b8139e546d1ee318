/** The elements of a tensor in order, as a new array of float32: what an operation without panels works on. */
import { elements, isContiguous, sizeOf, toFloat64, type View } from "../tensor.ts";

export function toFloat32(x: View): Float32Array {
  if (x.dtype === "float32" && isContiguous(x)) {
    return (elements(x) as Float32Array).slice(x.offset, x.offset + sizeOf(x.shape));
  }
  return Float32Array.from(toFloat64(x));
}
