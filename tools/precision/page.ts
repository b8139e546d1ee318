/** The text of docs/precision.md round its tables. */
export interface Sections {
  readonly bytes: number;
  readonly bits: string;
  readonly glance: string;
  readonly data: readonly {
    readonly name: string;
    readonly about: string;
    readonly bias: string;
    readonly table: string;
  }[];
  readonly granularity: string;
  readonly smoothing: string;
  readonly values: string;
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

export const page = (s: Sections): string =>
  `# Precision

Made by \`npm run docs:precision\` (a quarter of an hour) on the float64 oracle, where nothing but quantisation rounds.

\`precision\` says in what arithmetic attention is computed:

| | Q, K | P, V | smoothing |
| --- | --- | --- | --- |
| \`"float32"\` | float32 | float32 | |
| \`"int12"\` | 12 bits, a scale a token | 12 bits, P's scale and V's scales (one a channel) by tiles of 64 keys | K, V |
| \`"int8"\` | 8 bits, a scale a token | as int12 | K, V |
| \`sage({ version: "1" })\` | 8 bits, a scale for 128 queries, 64 keys | float16 | K |
| \`sage()\` | 8 bits, a scale a thread | E4M3, sums in 22 bits, 64 keys at a time | K |
| \`sage({ version: "2++" })\` | as sage() | E4M3, sums in float16, 64 keys at a time | K |
| \`sage({ qk: "int4" })\` (sage2-4b) | 4 bits, a scale a thread | as sage() | K, Q |
| \`sage({ version: "3" })\` | NVFP4 | NVFP4 | K, Q |

\`pv: "float32/fp8"\` is not a pipeline of theirs: V in E4M3, a quarter of its bytes, and P not rounded.

Every field of a record can be changed; see \`src/precision.ts\`. The pipelines are SageAttention 1 (arXiv 2410.02367),
2 (2411.10958), 2++ (2505.21136) and 3 (2505.11594) as published; int12, int8 and the scale of P by tile are ours.

Cosine, relative L1 (Σ|o − ô|/Σ|o|) and RMSE are over all elements of O at once, as in the papers. Max error is over
max |V|. Worst / bound is the largest error of an element over the bound that \`flashtile verify\` allows it
(docs/error-bounds.md §10): never above 1, and the farther below, the more the bound gives away.

## At a glance

moby: mean over the layers of the shipped model. Worst: of all the data below.

${s.glance}

Bits per byte of the shipped model on the first ${s.bytes} bytes of its held-out text, every attention in one precision
("− K": without smoothing K). Differences below 0.0005 are noise: rounding helps as often as it hurts.

${s.bits}

## What the papers measured

INT4 scores throughout, as in SageAttention2's tables; cosine in percent / relative L1 / RMSE. "paper": averages over
layers of the models measured there, quoted from memory and not checked against the paper. Synthetic columns: 512 queries and keys (the sink:
32 queries), D = 64; moby: 512 causal tokens.

Granularity of the scales of Q and K, both smoothed, P and V in float16:

${s.granularity}

Smoothing, scales per thread:

${s.smoothing}

Type of P and V, scales per thread, Q and K smoothed, sums in float32:

${s.values}

The order is the paper's: finer scales are better; smoothing K, Q and both; E5M2 below E4M3 below float16. The levels
differ, and here is why.

- **Smoothing** pays for bias. How far channels are off 0 stands with each data set below (median of |mean|/σ): moby's
  keys by a tenth of σ, those of the paper's models, whose cosine without smoothing is 80 %, surely by several. With
  channels of K shifted by 8σ INT4 without smoothing falls to 73 %, by 20σ to 35 %, and smoothing K takes all of it back:
  the rows of smoothed modes in "K biased 8×", "20×" and "Gaussian" are the same. Which of Q and K matters more is a
  matter of which is more biased: in "Q and K biased" it is K.
- **Per thread is not quite per token** here. The paper found them equal; that takes tokens of like size within a thread
  (4 queries 8 apart, 16 keys in pairs 8 apart). Neighbouring tokens of a video are alike, bytes of a novel are not, nor are normal
  deviates.
- **INT8 for P and V** cost the paper 23 points and costs moby nothing, because its static scale drops weights below
  1/254 of the row's largest, and with 512 keys there is little mass down there. Where a sink leaves the rest of the row
  e^10 below it, INT8 loses all but the sink (last column: 26 points), and 12 bits lose a third of O too. E4M3 and float16 have an
  exponent and keep it. Scaling P by the maximum of its *tile* (\`pScale: "tile"\`) gives integers the same: what is lost
  are the 63 keys beside the sink. It costs one multiplication a row and tile, and the modes int12 and int8 have it.
- **Per tensor** means per head here.
- **FP8** of V is relative: with V shifted by 10σ ("V biased 10×") its 3 bits of mantissa are spent on the shift. Smoothing
  V gains a factor of 10 to 40 in RMSE; the released kernels have it off. Not everywhere: a sink with a small V gets −v̄ as
  V′, which is large, and E4M3 rounds it relatively ("sink", sage2 + V). Integers don't mind.

## Every mode, with and without each smoothing

"− K" is without smoothing K, "+ V" with V smoothed, and so on. 128 queries, 512 keys, D = 64, two heads (the sink: 32
queries, 8192 keys, one head).

${
    s.data.map((d) => `### ${d.name}\n\n${d.about}. Channel bias of Q, K, V: ${d.bias}.\n\n${d.table}\n`)
      .join("\n")
  }`;
