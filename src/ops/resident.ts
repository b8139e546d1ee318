/**
 * Causal attention of what already lies in linear memory: the last N of M tokens against all M, layout bnhd, no copy
 * through JavaScript. Same kernels and same bits as the public forward (src/ops/forward.ts).
 *
 *   for each key/value head g:  pack Q of its heads;  for each panel of keys:  pack K, V;  for each head: forward
 *
 * 4·H·N·M·D flops, half of them where M = N; memory: one panel, and packed Q with its states for one group.
 */
import { roundUp } from "../wasm/arena.ts";
import type { Engine } from "../wasm/load.ts";
import { FLOAT32, SCRATCH } from "./buffers.ts";
import { LOG2E } from "./halvings.ts";
import { valueScale } from "./panel.ts";
import { FIRST, openTask, TASK_BYTES } from "./task.ts";
import * as word from "./word.ts";

/** Bytes a packed panel of K and V may take: it should stay in L2. */
const PANEL = 1.5 * 2 ** 20;
/** Bits of float32 +∞. */
const INFINITE = 0x7f800000;

/** float32 at addresses: q and out [N,H,D], k and v [M,G,D]. */
export interface ResidentAttention {
  q_p: number;
  k_p: number;
  v_p: number;
  out_p: number;
  N: number;
  M: number;
  H: number;
  G: number;
  D: number;
}

/** Query i sees keys j ≤ i + M − N; scale 1/√D. May grow the arena, which ends every view. */
export function attention_p(engine: Engine, at: ResidentAttention): void {
  const mark = engine.arena.mark();
  try {
    const buffers = allocate(engine, at);
    for (let g = 0; g < at.G; g++) attendGroup(engine, at, buffers, g);
  } finally {
    engine.arena.release(mark);
  }
}

/** Addresses; per head of a group: Q, m, l and O of N rows rounded up to a strip of 4. */
interface Buffers {
  readonly keys: number;
  readonly strips: number;
  readonly rows: number;
  readonly task: number;
  readonly scratch: number;
  readonly bounds: number;
  readonly k: number;
  readonly v: number;
  readonly poison: number;
  readonly q: number;
  readonly m: number;
  readonly l: number;
  readonly o: number;
}

function allocate({ arena }: Engine, { N, M, H, G, D }: ResidentAttention): Buffers {
  const strips = (D + 7) >> 3;
  const rows = (N + 3) & ~3;
  const group = H / G;
  const most = Math.max(64, Math.floor(PANEL / ((D + strips * 8) * 4) / 64) * 64);
  const keys = Math.min(most, Math.ceil(M / 64) * 64);
  const buffers = {
    keys,
    strips,
    rows,
    task: arena.alloc(TASK_BYTES),
    scratch: arena.alloc(SCRATCH),
    bounds: arena.alloc(rows * 16),
    k: arena.alloc(keys * D * 4),
    v: arena.alloc(keys * strips * 32),
    poison: arena.alloc(keys / 64 * 4),
    q: arena.alloc(group * rows * roundUp(D, FLOAT32.wide) * 4),
    m: arena.alloc(group * rows * 4),
    l: arena.alloc(group * rows * 4),
    o: arena.alloc(group * rows * strips * 32),
  };
  // lo, hi, sink tokens, position on the key axis; the rows that pad repeat the last.
  const bounds = arena.i32(buffers.bounds, rows * 4);
  for (let r = 0; r < rows; r++) {
    const p = M - N + Math.min(r, N - 1);
    bounds.set([0, p + 1, 0, p], r * 4);
  }
  return buffers;
}

function attendGroup(engine: Engine, at: ResidentAttention, buffers: Buffers, g: number): void {
  const { arena, kernels } = engine;
  const { N, M, H, G, D } = at;
  const { rows, strips, keys } = buffers;
  const group = H / G;
  const words = new Int32Array(arena.memory.buffer);
  const floats = new Float32Array(arena.memory.buffer);

  const k_p = at.k_p + g * D * 4;
  const v_p = at.v_p + g * D * 4;
  const row = G * D * 4;
  const bits = kernels.max_bits_f32(v_p, G * D, M, D);
  const scale = valueScale(bits);
  const to = openTask(engine.arena, buffers, buffers, D, D, strips, 64);
  words[to + word.rows] = N;
  floats[to + word.scale] = 1 / Math.sqrt(D);
  floats[to + word.c] = LOG2E / Math.sqrt(D);
  floats[to + word.unscale] = 1 / scale;
  const query = (h: number) => buffers.q + h * rows * roundUp(D, FLOAT32.wide) * 4;
  const result = (h: number) => buffers.o + h * rows * strips * 32;
  /** The task is about head h of the group. */
  const point = (h: number) => {
    words[to + word.q_p] = query(h);
    words[to + word.m_p] = buffers.m + h * rows * 4;
    words[to + word.l_p] = buffers.l + h * rows * 4;
    words[to + word.o_p] = words[to + word.out_p] = result(h);
  };

  for (let h = 0; h < group; h++) {
    kernels.pack_q_f32(at.q_p + (g * group + h) * D * 4, H * D, N, D, query(h), 1);
  }
  for (let key0 = 0; key0 < M; key0 += keys) {
    const count = Math.min(keys, M - key0);
    kernels.pack_k_f32(k_p + key0 * row, G * D, count, D, buffers.k);
    kernels.pack_v_f32(v_p + key0 * row, G * D, count, D, buffers.v, 0, scale);
    if (bits >= INFINITE) markTiles(engine, v_p + key0 * row, G * D, count, D, buffers.poison);
    const poison_p = bits >= INFINITE ? buffers.poison : 0;
    for (let h = 0; h < group; h++) {
      point(h);
      words[to + word.key0] = key0;
      words[to + word.keys] = count;
      words[to + word.poison_p] = poison_p;
      words[to + word.flags] = key0 === 0 ? FIRST : 0;
      kernels.forward_f32(buffers.task);
    }
  }
  for (let h = 0; h < group; h++) {
    point(h);
    kernels.finish_f32(buffers.task);
    kernels.scatter_rows_f32(result(h), at.out_p + (g * group + h) * D * 4, 1, N, 0, H * D, D);
  }
}

/** 1 for each tile of 64 keys whose values hold ∞ or NaN: the kernel goes round 0·∞ there. */
function markTiles(
  { arena, kernels }: Engine,
  v_p: number,
  ld: number,
  keys: number,
  E: number,
  to: number,
): void {
  const marks = arena.i32(to, Math.ceil(keys / 64));
  for (let x = 0; x < marks.length; x++) {
    const bits = kernels.max_bits_f32(v_p + x * 64 * ld * 4, ld, Math.min(64, keys - x * 64), E);
    marks[x] = bits >= INFINITE ? 1 : 0;
  }
}
