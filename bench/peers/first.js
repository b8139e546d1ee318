/** The first attention of a fresh process with the library that the first argument names: cold.js times it. */
const [H, N, D] = [4, 128, 64];
const x = new Float32Array(H * N * D).fill(0.5);

const FIRST = {
  "empty script": () => x,
  "flashtile": async () => {
    const { attention } = await import("../../dist/index.js");
    const t = { data: x, shape: [1, H, N, D] };
    return attention(t, t, t).out.data;
  },
  "onnxruntime-web": async (model) => {
    const ort = await import("onnxruntime-web");
    ort.env.wasm.numThreads = 1;
    return onnxruntime(ort, model, { executionProviders: ["wasm"] });
  },
  "onnxruntime-node": async (model) =>
    onnxruntime(await import("onnxruntime-node"), model, { intraOpNumThreads: 1 }),
  "tfjs-wasm": async () => {
    const [tf, backend, { createRequire }, { dirname }] = await Promise.all([
      import("@tensorflow/tfjs-core"),
      import("@tensorflow/tfjs-backend-wasm"),
      import("node:module"),
      import("node:path"),
    ]);
    const wasm = createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm");
    backend.setWasmPaths(`${dirname(wasm)}/`);
    backend.setThreadsCount(1);
    await tf.setBackend("wasm");
    const head = tf.tensor2d(x.subarray(0, N * D), [N, D]);
    const out = [];
    for (let h = 0; h < H; h++) {
      const s = tf.mul(tf.matMul(head, tf.transpose(head)), 1 / Math.sqrt(D));
      out.push(...tf.matMul(tf.softmax(s), head).dataSync());
    }
    return out;
  },
};

async function onnxruntime(ort, model, options) {
  const { readFileSync } = await import("node:fs");
  const session = await ort.InferenceSession.create(readFileSync(model), options);
  const t = new ort.Tensor("float32", x, [1, N, H * D]);
  return (await session.run({ q: t, k: t, v: t })).out.data;
}

const out = await FIRST[process.argv[2]](process.argv[3]);
if (out.length !== x.length || Math.abs(out[0] - 0.5) > 1e-6) throw new Error(`expected 0.5, got ${out[0]}`);
process.exit(0);
