/** The record of assembly/ops/task.ts, written from here: one 4-byte word a field, in this order. */

const FIELDS = [
  ...["q_p", "k_p", "v_p", "poison_p", "bounds_p", "m_p", "l_p", "o_p", "scratch_p"] as const,
  ...["rows", "D", "strips", "key0", "keys", "flags", "c", "scale", "softcap"] as const,
  ...["slope_p", "bias_p", "bias_step", "mask_p", "mask_step"] as const,
  ...["E", "out_p", "lse_p", "sink_p", "unscale", "br"] as const,
  ...["blocks_p", "blocks_ld", "drop_p", "threshold", "keep", "visited", "masked"] as const,
  ...["k_unit_p", "v_unit_p", "unit_p", "shift_p", "c_p", "mean_p", "top", "table_p", "q_sum_p"] as const,
  ...["k_tile_p", "v_tile_p", "k_tile", "v_tile", "v_unit_step"] as const,
];
const FLOATS: ReadonlySet<string> = new Set(["c", "scale", "softcap", "unscale", "keep", "top"]);
/** The word of each field within the record. */
export const INDEX = Object.fromEntries(FIELDS.map((name, x) => [name, x])) as Record<Field, number>;

export type Field = (typeof FIELDS)[number];
export const TASK_BYTES = FIELDS.length * 4;

/** What a call without options leaves out. */
export const PLAIN: Partial<Record<Field, number>> = {
  ...{ poison_p: 0, softcap: 0, slope_p: 0, bias_p: 0, bias_step: 0, mask_p: 0, mask_step: 0 },
  ...{ lse_p: 0, sink_p: 0, unscale: 1, blocks_p: 0, drop_p: 0, keep: 1, visited: 0, masked: 0, br: 64 },
};

/** Bits of Task.flags. */
export const FIRST = 1;
export const SCALAR = 2;
export const SCORES = 4;
export const RELATIVE = 8;
export const CAP_LAST = 16;
export const SLOPED_BIAS = 32;
export const SINK_IN_LSE = 64;
export const QUANTISED = 128;
export const BYTES_QK = 256;
export const BYTES_PV = 512;
export const PLAIN_PV = 1024;
export const TILE_K = 2048;
export const TILE_V = 4096;

/** Writes fields of the task at `pointer`; `words` and `floats` view the whole memory. */
export function writeTask(
  words: Int32Array,
  floats: Float32Array,
  pointer: number,
  fields: Partial<Record<Field, number>>,
): void {
  for (const name in fields) {
    const at = (pointer >> 2) + INDEX[name as Field];
    if (FLOATS.has(name)) floats[at] = fields[name as Field] as number;
    else words[at] = fields[name as Field] as number;
  }
}
