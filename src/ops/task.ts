/** The record of assembly/ops/task.ts, written from here: one 4-byte word a field, in this order. */

const FLOAT = 1;
/** Names as identifiers, not as strings: the build may shorten them (tools/shortnames.js), 0.13 kB. */
const FIELDS = {
  ...{ q_p: 0, k_p: 0, v_p: 0, poison_p: 0, bounds_p: 0, m_p: 0, l_p: 0, o_p: 0, scratch_p: 0 },
  ...{ rows: 0, D: 0, strips: 0, key0: 0, keys: 0, flags: 0, c: FLOAT, scale: FLOAT, softcap: FLOAT },
  ...{ slope_p: 0, bias_p: 0, bias_step: 0, mask_p: 0, mask_step: 0 },
  ...{ E: 0, out_p: 0, lse_p: 0, sink_p: 0, unscale: FLOAT, br: 0 },
  ...{ blocks_p: 0, blocks_ld: 0, drop_p: 0, threshold: 0, keep: FLOAT, visited: 0, masked: 0 },
  ...{
    k_unit_p: 0,
    v_unit_p: 0,
    unit_p: 0,
    shift_p: 0,
    c_p: 0,
    mean_p: 0,
    top: FLOAT,
    table_p: 0,
    q_sum_p: 0,
  },
  ...{ k_tile_p: 0, v_tile_p: 0, k_tile: 0, v_tile: 0, v_unit_step: 0 },
};
const NAMES = Object.keys(FIELDS) as Field[];
/** The word of each field within the record. */
export const INDEX = Object.fromEntries(NAMES.map((name, x) => [name, x])) as Record<Field, number>;

export type Field = keyof typeof FIELDS;
export const TASK_BYTES = NAMES.length * 4;

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
    if (FIELDS[name as Field] === FLOAT) floats[at] = fields[name as Field] as number;
    else words[at] = fields[name as Field] as number;
  }
}
