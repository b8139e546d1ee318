/**
 * The backward pass of one head in float32, every operation rounded by the test (float32attention.ts): P from lse,
 * D = rowsum(dO ∘ O), dS = P ∘ (dP − D), and the three products, each sum ascending.
 */
import { exp } from "../../src/reference/math.ts";
import { attendRow, type Rounding } from "./float32attention.ts";

export interface HeadInputs {
  readonly N: number;
  readonly M: number;
  readonly D: number;
  readonly E: number;
  readonly scale: number;
  readonly q: ArrayLike<number>;
  readonly k: ArrayLike<number>;
  readonly v: ArrayLike<number>;
  readonly dO: ArrayLike<number>;
}

/** `up`: the direction in which every rounding is pushed. */
export function backwardHead(head: HeadInputs, round: Rounding, up: number) {
  const { N, M, D, E, scale, q, k, v, dO } = head;
  const fl = (x: number) => round(x, up);
  const dot = (a: ArrayLike<number>, a0: number, b: ArrayLike<number>, b0: number, length: number) => {
    let sum = 0;
    for (let d = 0; d < length; d++) sum = fl(sum + fl(a[a0 + d] * b[b0 + d]));
    return sum;
  };
  const dq = new Float64Array(N * D);
  const dk = new Float64Array(M * D);
  const dv = new Float64Array(M * E);
  for (let i = 0; i < N; i++) {
    const row = { q: Array.from({ length: D }, (_, d) => q[i * D + d]), K: k, V: v, M, D, E, scale };
    const { out, lse } = attendRow(row, round, new Float64Array(M).fill(up));
    const Di = dot(dO, i * E, out, 0, E);
    for (let j = 0; j < M; j++) {
      const x = fl(fl(scale) * dot(q, i * D, k, j * D, D));
      const P = fl(exp(fl(x - lse)));
      const dS = fl(P * fl(dot(dO, i * E, v, j * E, E) - Di));
      const ds = fl(dS * scale);
      for (let e = 0; e < E; e++) dv[j * E + e] = fl(dv[j * E + e] + fl(P * dO[i * E + e]));
      for (let d = 0; d < D; d++) {
        dq[i * D + d] = fl(dq[i * D + d] + fl(ds * k[j * D + d]));
        dk[j * D + d] = fl(dk[j * D + d] + fl(ds * q[i * D + d]));
      }
    }
  }
  return { dq, dk, dv };
}
