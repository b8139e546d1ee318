/**
 * Small problems without bias, masks and the like: all heads of a batch in one call of the kernels (assembly/ops/heads.ts),
 * from tensors that lie in linear memory or are copied there whole. The same bits as head after head, without a plan,
 * steps and panels, whose 30 functions a fresh process takes 0.4 ms to compile.
 */
import type { Problem } from "../problem.ts";
import type { View } from "../tensor.ts";
import { roundUp } from "../wasm/arena.ts";
import type { Engine } from "../wasm/load.ts";
import { FLOAT32, type ForwardOptions, SCRATCH } from "./buffers.ts";
import type { ForwardResult } from "./call.ts";
import { LOG2E, signAndSize, tiny } from "./halvings.ts";
import { LARGE } from "./panel.ts";
import { fillBounds, headsAlike } from "./rows.ts";
import { dense, elementAt } from "./stage.ts";
import { FIRST, openTask, SCORES, TASK_BYTES } from "./task.ts";
import * as word from "./word.ts";

/** Elements of a tensor: 128 KiB. */
const SMALL = 2 ** 15;
/** Rows × keys of a batch: at most 5 ms. */
const PAIRS = 2 ** 20;
/** Of linear memory: 1.5 MiB. */
const FLOATS = 1.5 * 2 ** 18;

/** Null if the problem isn't one of these, and nothing has been done. */
export function attendSmall(
  engine: Engine,
  problem: Problem,
  { scalar, chunkRows = Infinity, panelKeys = Infinity, written }: ForwardOptions,
): ForwardResult | null {
  const { arena, kernels } = engine;
  const { B, G, H, N, M, D, E, group, q, k, v, softcap } = problem;
  const rows = N * group, results = H * N * E;
  const tensors = [q, k, v];
  if (
    scalar || written || results > SMALL || H * N * M > PAIRS || rows > chunkRows || M > panelKeys ||
    !plain(problem) || !tensors.every((x) => travels(x, arena.memory))
  ) return null;
  const strip = roundUp(rows, 4), keys = roundUp(M, 64);
  const wide = roundUp(D, FLOAT32.wide), strips = (E + 7) >> 3;
  // More than all of it, in floats.
  const most = 4 * SMALL + (strip + keys) * (wide + strips * 8) + strip * 6 + 2048;
  if (most > FLOATS || !arena.affords(most * 4)) return null;
  // Memory grows once.
  const mark = arena.mark();
  arena.alloc(most * 4);
  arena.release(mark);
  const floatsAt = (n: number) => arena.alloc(n * 4);
  const at = {
    task: arena.alloc(TASK_BYTES),
    scratch: arena.alloc(SCRATCH),
    bounds: floatsAt(strip * 4),
    m: floatsAt(strip),
    l: floatsAt(strip),
    o: floatsAt(strip * strips * 8),
    q: floatsAt(strip * wide),
    k: floatsAt(keys * D),
    v: floatsAt(keys * strips * 8),
  };
  const places = tensors.map(({ resident, data }) => {
    if (resident) return resident.at;
    const place = floatsAt(data.length);
    arena.floats.set(data as Float32Array, place >> 2);
    return place;
  });
  // Over the copy of Q, if there is one, of which a head is packed by then; finish_f32 writes whole strips.
  const over = !q.resident && E === D && E % 8 === 0 && (B === 1 || q.strides[0] >= results);
  const apart = over ? 0 : floatsAt(results + 8);
  const { floats, words } = arena;
  const [sign, size] = signAndSize(problem.scale);
  const to = openTask(arena, at, at, D, E, strips, 64);
  words[to + word.rows] = rows;
  words[to + word.flags] = softcap > 0 ? FIRST | SCORES : FIRST;
  floats[to + word.c] = softcap > 0 ? LOG2E : size * LOG2E;
  floats[to + word.scale] = size;
  floats[to + word.softcap] = softcap;
  const out = new Float32Array(B * results);
  for (let b = 0; b < B; b++) {
    fillBounds(words.subarray(at.bounds >> 2, (at.bounds >> 2) + strip * 4), problem, b, 0, 0, rows);
    words[to + word.keys] = problem.keyLength[b];
    const [q_p, k_p, v_p] = tensors.map((x, n) => places[n] + elementAt(x, b, 0, 0) * 4);
    const out_p = words[to + word.out_p] = apart || q_p;
    const bits = kernels.heads_f32(at.task, G, q_p, k_p, v_p, k.strides[1] * 4, v.strides[1] * 4, sign);
    if (bits >= LARGE) return null;
    out.set(floats.subarray(out_p >> 2, (out_p >> 2) + results), b * results);
  }
  return {
    out,
    lse: null,
    written: null,
    tiles: { visited: words[to + word.visited], masked: words[to + word.masked] },
  };
}

/** Nothing but what heads_f32 does, every head alike. */
function plain(problem: Problem): boolean {
  const { precision, bias, mask, blocks, alibiSlopes, sink, dropout, want, layout, q, N, D, E, G } = problem;
  return !(precision ?? bias ?? mask ?? blocks ?? alibiSlopes ?? sink ?? dropout) && !want.lse &&
    layout === "bhnd" && N > 0 && E > 0 && G > 0 && q.strides[1] === N * D && !tiny(problem.scale) &&
    headsAlike(problem);
}

/** Whether a tensor lies in this memory, or is few enough bytes to be copied there whole. */
function travels(x: View, memory: WebAssembly.Memory): boolean {
  const { resident, data, dtype } = x;
  if (resident && resident.memory !== memory) return false;
  return dtype === "float32" && dense(x) && (resident ?? data).length <= SMALL;
}
