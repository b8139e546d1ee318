/**
 * 200 seeded attention problems over every option: what the determinism hashes are taken of. Pure JavaScript on the
 * public API, integer arithmetic only where numbers are made, so that every engine makes the same problems.
 */
import { BlockMask } from "flashtile/sparse";
import { generator, tensor } from "./data.js";

export const COUNT = 200;

const SEMANTICS = [
  ...["flashAttention2", "flashAttention4", "sdpa", "onnx23", "onnx24", "onnx25"],
  ...["flashInfer", "ggml", "ortCpu", "jaxJs"],
  { alibi: "relative", emptyRow: "mean", lseIncludesSink: false },
];

/** Problem number `n`: {q, k, v, options}. */
export function problem(n) {
  const random = generator(0x9e37 + 7919 * n);
  const { pick, below, chance } = random;
  const layout = pick("bhnd", "bhnd", "bhnd", "bnhd", "thd");
  const B = layout === "thd" ? 1 : 1 + below(2);
  const G = 1 + below(2);
  const H = G * (1 + below(3));
  const N = pick(0, 1, 1, 2, 3, 5, 8, 17, 33, 64, 65, 100);
  const M = pick(0, 1, 2, 7, 16, 63, 64, 65, 130, 200);
  const D = pick(1, 3, 8, 16, 40, 64, 80, 128);
  const E = chance(70) ? D : pick(1, 5, 8, 24, 64);
  const dtype = pick("float32", "float32", "float32", "float16", "bfloat16");
  const options = {
    lse: true,
    ...visibility(random, H),
    ...scoring(random, H),
  };
  const make = (shape) => tensor(random, shape, dtype);

  if (layout === "thd") {
    const cut = (total) => Int32Array.of(0, below(total + 1), total);
    options.layout = layout;
    options.cuSeqlens = { q: cut(N), k: cut(M) };
    return {
      q: make([N, H, D]),
      k: make([M, G, D]),
      v: make([M, G, E]),
      options,
    };
  }
  if (chance(20)) {
    const shape = pick([B, H, N, M], [1, 1, N, M], [H, 1, M], [N, 1]);
    options.bias = tensor(random, shape, "float32", 2);
    // A bias of −∞ hides its key; in a column of 1 it may hide a whole row.
    if (chance(50)) {
      options.bias.data.forEach((_, i, all) => below(8) || (all[i] = -Infinity));
    }
  }
  if (chance(20)) {
    options.mask = tensor(random, pick([B, 1, N, M], [1, H, N, M], [M], [B, 1, 1, M]), "bool");
  } else if (chance(10)) {
    // Of the kernels' entry, for both: the oracle must know it too.
    options.mask = BlockMask.fromTensor(tensor(random, [1, 1, N, M], "bool"));
  }
  if (chance(15)) {
    options.keyLengths = Int32Array.from({ length: B }, () => below(M + 1));
  }
  if (layout === "bnhd") options.layout = layout;
  const order = (heads, rows, width) => layout === "bnhd" ? [B, rows, heads, width] : [B, heads, rows, width];
  const q = make(order(H, N, D));
  const k = make(order(G, M, D));
  const v = make(order(G, M, E));
  if (chance(10)) spoil(random, v);
  return { q, k, v, options };
}

/** Which keys a row sees. */
function visibility({ pick, below, chance }, H) {
  const options = {};
  const window = () => [pick(null, 0, 3, 16, 70), pick(null, 0, 2, 20)];
  if (chance(50)) options.causal = true;
  if (chance(30)) {
    options.align = pick("top-left", "bottom-right", { offset: below(9) - 4 });
  }
  if (chance(25)) {
    options.window = chance(30) ? Array.from({ length: H }, window) : window();
  }
  if (chance(15)) {
    options.sinkTokens = chance(30) ? Array.from({ length: H }, () => below(4)) : below(5);
  }
  if (chance(10)) options.chunk = 1 + below(70);
  return options;
}

/** What becomes of a score. */
function scoring({ pick, below, normal, chance }, H) {
  const options = {};
  if (chance(20)) options.softcap = pick(0.5, 10, 50);
  if (chance(20)) {
    options.alibiSlopes = Float32Array.from({ length: H }, (_, h) => 2 ** -(1 + (h % 8)));
  }
  if (chance(20)) options.sink = Float32Array.from({ length: H }, normal);
  if (chance(10)) options.dropout = { p: pick(0.1, 0.5), seed: below(1000) };
  if (chance(10)) options.probabilities = true;
  if (chance(20)) options.scale = pick(0, 0.1, 1, -0.25);
  if (chance(25)) options.semantics = pick(...SEMANTICS);
  return options;
}

/** What arithmetic treats apart: infinities, NaN, −0, denormals, the largest finite numbers. */
function spoil({ pick, below }, { data, dtype }) {
  const words = {
    float32: [Infinity, -Infinity, NaN, -0, 2 ** -140, 3.4e38],
    float16: [0x7c00, 0xfc00, 0x7e00, 0x8000, 0x0001, 0x7bff],
    bfloat16: [0x7f80, 0xff80, 0x7fc0, 0x8000, 0x0001, 0x7f7f],
  }[dtype];
  for (let times = 0; times < 3 && data.length > 0; times++) {
    data[below(data.length)] = pick(...words);
  }
}
