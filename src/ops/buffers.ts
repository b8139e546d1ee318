/**
 * What one call of the fused forward holds in linear memory, and how much of it: as planned (src/plan/tiles.ts), less
 * where a bias or a mask is staged beside it. The whole stays below 4 MB.
 */
import type { Tiles } from "../plan/cost.ts";
import { type Caches, SMALL_CACHES } from "../plan/machine.ts";
import { shapeOf, stagedBytes } from "../plan/shape.ts";
import { chooseTiles, STAGED } from "../plan/tiles.ts";
import type { Problem } from "../problem.ts";
import { type Arena, roundUp } from "../wasm/arena.ts";
import type { Panel } from "./panel.ts";
import { RowStage } from "./rows.ts";
import { sliceRows, type Stage, stageBytes } from "./stage.ts";
import { TASK_BYTES } from "./task.ts";

/** Flops of a step, 6 ms; softcap, ALiBi and dropout together may double that. */
const STEP = 2 ** 28;
/** Rows and keys where scores or weights are written out: 512 KiB. */
const WRITTEN = { rows: 256, keys: 512 };
/** Scratch of assembly/ops/forward.ts: S, flags, bits, the softmax's, bounds of the 64 strips of the tallest block. */
export const SCRATCH = 1024 + 256 + 32 + 336 + 64 * 28;

export interface ForwardOptions extends Partial<Tiles> {
  /** Run on the scalar twins of the kernels. */
  readonly scalar?: boolean;
  /** What the planner counts on where it chooses the tiles; they change no bits. */
  readonly caches?: Caches | undefined;
  /** Also write N×M: the weights if `want.probabilities` isn't enough to say so, or the scores and nothing else. */
  readonly written?: "weights" | "scores";
}

/** Rows of a bias or mask of the problem, and where their addresses are: one a row of the chunk. */
export interface Staged {
  readonly rows: RowStage;
  readonly at: number;
}

/** Packed Q, K and V: bytes of an element, and the multiples that their rows (Q's, K's, V's and O's) are padded to. */
export interface Element {
  readonly bytes: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly wide: number;
  readonly multiple: number;
  readonly columns: number;
}

export const FLOAT32: Element = { bytes: 4, keyBytes: 4, valueBytes: 4, wide: 64, multiple: 1, columns: 8 };

export interface Buffers {
  /** Rows of a block, query rows of a chunk, keys of a panel. */
  readonly br: number;
  readonly rows: number;
  readonly keys: number;
  /** Of 8 columns of V and O. */
  readonly strips: number;
  readonly stage: Stage;
  readonly panel: Panel;
  readonly at: Readonly<
    Record<
      | ("task" | "q" | "bounds" | "m" | "l" | "o" | "lse" | "slope" | "sink" | "scratch")
      | ("drop" | "blocks" | "written"),
      number
    >
  >;
  readonly bias: Staged | null;
  readonly mask: Staged | null;
}

/** As told, and what isn't told as planned. */
function tilesOf(problem: Problem, { br, chunkRows, panelKeys, caches }: ForwardOptions): Tiles {
  if (br !== undefined && chunkRows !== undefined && panelKeys !== undefined) {
    return { br, chunkRows, panelKeys };
  }
  const planned = chooseTiles(shapeOf(problem), caches ?? SMALL_CACHES);
  return {
    br: br ?? planned.br,
    chunkRows: chunkRows ?? planned.chunkRows,
    panelKeys: panelKeys ?? planned.panelKeys,
  };
}

/** Everything at once, before the first view is made: nothing grows while heads are computed. */
export function allocate(
  arena: Arena,
  problem: Problem,
  options: ForwardOptions,
  { bytes, keyBytes, valueBytes, wide, multiple, columns }: Element = FLOAT32,
): Buffers {
  const { D, E, N, M, group, bias, mask, blocks, dropout } = problem;
  const Ep = roundUp(Math.max(1, E), columns);
  const written = options.written !== undefined;
  const { br, chunkRows, panelKeys } = tilesOf(problem, options);
  const most = Math.min(panelKeys, written ? WRITTEN.keys : Infinity);
  const staging = stagedBytes(problem);
  // Where keys are packed again for each chunk, few keys and many rows are the better half megabyte.
  const square = staging && M > most && options.panelKeys === undefined
    ? Math.sqrt(2 * STAGED / staging)
    : Infinity;
  const keys = Math.min(Math.max(1, Math.floor(Math.min(most, square) / 64)), Math.ceil(M / 64)) * 64;
  const tall = Math.min(chunkRows, written ? WRITTEN.rows : Infinity);
  const fit = staging ? Math.max(4, Math.floor(STAGED / (staging * (keys + 16)) / 4) * 4) : Infinity;
  const quick = Math.max(4, Math.floor(STEP / (2 * keys * (D + Ep)) / 4) * 4);
  // The planner knows nothing of what pads the rows of Q.
  const padding = (roundUp(D, wide) - D) * bytes;
  const narrow = Math.max(4, Math.floor(STAGED / padding / 4) * 4);
  const rows = Math.min(tall, fit, quick, narrow, Math.ceil(N * group / 4) * 4);

  const width = Math.max(D, E, 1);
  const pitch = keys + 16;
  const some = (wanted: boolean, bytes: number) => wanted ? arena.alloc(bytes) : 0;
  const perRow = () => arena.alloc(rows * 4);
  const staged = (source: Problem["bias"], bytes: number): Staged | null =>
    source && { rows: new RowStage(source, arena.alloc((rows * bytes + 2) * pitch), pitch), at: perRow() };
  return {
    br,
    rows,
    keys,
    strips: Ep >> 3,
    stage: { at: arena.alloc(stageBytes(width)), rows: sliceRows(width) },
    panel: {
      k: arena.alloc(keys * roundUp(D, multiple) * keyBytes),
      v: arena.alloc(keys * Ep * valueBytes),
      poison: arena.alloc((keys / 64 + 1) * 4),
      keys,
    },
    at: {
      task: arena.alloc(TASK_BYTES),
      q: arena.alloc(rows * roundUp(D, wide) * bytes),
      bounds: arena.alloc(rows * 16),
      m: perRow(),
      l: perRow(),
      o: arena.alloc(rows * Ep * 4),
      lse: perRow(),
      slope: perRow(),
      sink: perRow(),
      scratch: arena.alloc(SCRATCH),
      drop: some(dropout !== null, rows * 8),
      blocks: some(blocks !== null, rows * keys / 8),
      written: some(written, rows * keys * 4),
    },
    bias: staged(bias, 4),
    mask: staged(mask, 1),
  };
}
