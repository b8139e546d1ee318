/**
 * SageAttention a second time, from the words of the papers and with nothing of src: one head, whole matrices, lists
 * of rows that share a scale, Math.exp. For rows of at most 64 keys or P in float, where the running maximum is moot.
 */

type Matrix = number[][];

export interface Published {
  readonly bits: 4 | 8 | 12;
  readonly ties: "away" | "even";
  /** Lists of rows of Q and of K. */
  readonly groupsQ: number[][];
  readonly groupsK: number[][];
  readonly smoothK: boolean;
  /** Lists of rows that share a mean; none without smoothing. */
  readonly blocksQ: number[][];
  readonly smoothV: boolean;
  readonly pv: "exact" | "e4m3" | "int8";
}

const f = Math.fround;
const average = (rows: Matrix, d: number) => f(rows.reduce((sum, row) => sum + row[d], 0) / rows.length);

/** Integers and the scale of each row. */
function integersOf(
  x: Matrix,
  groups: number[][],
  { bits, ties }: Published,
): { codes: Matrix; scale: number[] } {
  const most = 2 ** (bits - 1) - 1;
  const codes = x.map((row) => row.map(() => 0));
  const scale = x.map(() => 0);
  for (const group of groups) {
    const rows = group.filter((r) => r < x.length);
    const amax = Math.max(...rows.flatMap((r) => x[r].map(Math.abs)));
    for (const r of rows) {
      scale[r] = f(amax / most);
      codes[r] = x[r].map((value) => {
        if (ties === "away") return Math.trunc(f(f(value / scale[r]) + Math.sign(value || 1) / 2));
        const y = f(value * f(most / amax));
        const low = Math.floor(y);
        if (y - low !== 0.5) return Math.round(y);
        return low % 2 === 0 ? low : low + 1;
      });
    }
  }
  return { codes, scale };
}

/** Nearest of a format's numbers, given all of them ≥ 0; no ties in the data it is used on. */
function nearest(x: number, numbers: readonly number[]): number {
  const best = numbers.reduce((a, b) => Math.abs(b - Math.abs(x)) < Math.abs(a - Math.abs(x)) ? b : a);
  return x < 0 ? -best : best;
}

const e4m3: number[] = [];
for (let m = 0; m < 8; m++) e4m3.push(m * 2 ** -9);
for (let e = -6; e <= 8; e++) for (let m = 0; m < 8; m++) if (e < 8 || m < 7) e4m3.push(2 ** e * (1 + m / 8));

/** [N,E] and lse [N] of Q [N,D], K [M,D], V [M,E]; causal: j ≤ i + M − N. */
export function published(
  Q: Matrix,
  K: Matrix,
  V: Matrix,
  how: Published,
  causal: boolean,
): { out: Matrix; lse: number[] } {
  const [N, M, D] = [Q.length, K.length, Q[0].length];
  const km = K[0].map((_, d) => how.smoothK ? average(K, d) : 0);
  const k = K.map((row) => row.map((x, d) => f(x - km[d])));
  const qm = Q.map((row) => row.map(() => 0));
  for (const block of how.blocksQ) {
    const rows = block.filter((r) => r < N);
    if (rows.length === 0) continue;
    const mean = Q[0].map((_, d) => average(rows.map((r) => Q[r]), d));
    for (const r of rows) qm[r] = mean;
  }
  const q = Q.map((row, i) => row.map((x, d) => f(x - qm[i][d])));
  const [qc, kc] = [integersOf(q, how.groupsQ, how), integersOf(k, how.groupsK, how)];
  const vm = V[0].map((_, e) => how.smoothV ? average(V, e) : 0);
  const v = V.map((row) => row.map((x, e) => f(x - vm[e])));
  const vmax = v[0].map((_, e) => Math.max(...v.map((row) => Math.abs(row[e]))));
  const value = (j: number, e: number) => {
    if (how.pv === "exact") return v[j][e];
    const scale = f(vmax[e] / (how.pv === "e4m3" ? 448 : 127));
    if (how.pv === "e4m3") return nearest(f(v[j][e] / scale), e4m3) * scale;
    return Math.round(f(v[j][e] / scale)) * scale;
  };
  const weight = (p: number) => {
    if (how.pv === "exact") return p;
    return how.pv === "e4m3" ? nearest(p * 2 ** 8.807, e4m3) / 2 ** 8.807 : Math.round(p * 127) / 127;
  };
  const out: Matrix = [];
  const lse: number[] = [];
  for (let i = 0; i < N; i++) {
    // What SageAttention computes: without q·k̄, which it adds to lse in the end.
    const s: number[] = [];
    for (let j = 0; j < M && (!causal || j <= i + M - N); j++) {
      let sum = 0;
      let delta = 0;
      for (let d = 0; d < D; d++) {
        sum += qc.codes[i][d] * kc.codes[j][d];
        delta += qm[i][d] * k[j][d];
      }
      s.push((sum * qc.scale[i] * kc.scale[j] + delta) / Math.sqrt(D));
    }
    const m = Math.max(...s);
    const p = s.map((x) => Math.exp(x - m));
    const l = p.reduce((a, b) => a + b, 0);
    out.push(vm.map((mean, e) => p.reduce((sum, w, j) => sum + weight(w) * value(j, e), 0) / l + mean));
    lse.push(m + Math.log(l) + km.reduce((sum, x, d) => sum + x * Q[i][d], 0) / Math.sqrt(D));
  }
  return { out, lse };
}
