/** Several heads of small matrices: packing, forward and finish in one call. */
import { pack_k_f32, pack_q_f32, pack_v_f32 } from "../tile/pack";
import { finish_f32 } from "./finish";
import { forward_f32 } from "./forward";
import { Task } from "./task";

/**
 * All heads of a batch, whose K and V fit the panel and whose rows the chunk: what JavaScript otherwise asks for call by
 * call, 0.5 µs a head. The rows of Q, K and V follow one another, so do Q's heads and out's; K's and V's are k_head and
 * v_head bytes apart. heads ≥ 1. Returns the largest bits of V, as pack_v_f32: from 2^88 on the results are no good.
 */
export function heads_f32(
  t: Task,
  heads: i32,
  q_p: usize,
  k_p: usize,
  v_p: usize,
  k_head: usize,
  v_head: usize,
  mul: f32,
): i32 {
  const D = t.D, E = t.E, rows = t.rows, keys = t.keys;
  let bits: i32 = 0;
  do {
    pack_q_f32(q_p, D, rows, D, t.q_p, mul);
    pack_k_f32(k_p, D, keys, D, t.k_p);
    bits = max(bits, pack_v_f32(v_p, E, keys, E, t.v_p, 0, 1));
    forward_f32(t);
    finish_f32(t);
    q_p += (<usize> (rows * D)) << 2;
    k_p += k_head;
    v_p += v_head;
    t.out_p += (<usize> (rows * E)) << 2;
  } while (--heads);
  return bits;
}
