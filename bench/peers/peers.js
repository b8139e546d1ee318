/**
 * The rivals, one factory each: (problem) → an async function from nothing to the output in [H,N,D] order of
 * `layout`, inputs already where the rival wants them. All on one thread, float32, CPU.
 */
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { attention as attentionModel, multiHeadAttention } from "./models.js";

const require = createRequire(import.meta.url);

async function onnxruntime(ort, build, layout, problem, sessionOptions = {}) {
  const session = await ort.InferenceSession.create(build(problem), {
    executionProviders: ["cpu"],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    ...sessionOptions,
  });
  const { H, N, D } = problem;
  const dims = layout === "bnhd" ? [1, N, H * D] : [1, H, N, D];
  const feeds = Object.fromEntries(
    ["q", "k", "v"].map((
      name,
    ) => [name, new ort.Tensor("float32", problem[layout][name], dims)]),
  );
  return {
    layout,
    run: async () => (await session.run(feeds)).out.data,
    close: () => session.release(),
  };
}

async function web() {
  const ort = await import("onnxruntime-web");
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  return ort;
}

export const PEERS = {
  "onnxruntime-web MHA": async (problem) =>
    onnxruntime(await web(), multiHeadAttention, "bnhd", problem, {
      executionProviders: ["wasm"],
    }),
  "onnxruntime-web Attention": async (problem) =>
    onnxruntime(await web(), attentionModel, "bhnd", problem, {
      executionProviders: ["wasm"],
    }),
  "onnxruntime-node MHA (native)": async (problem) =>
    onnxruntime(
      await import("onnxruntime-node"),
      multiHeadAttention,
      "bnhd",
      problem,
    ),

  /** No attention op: matMul, softmax, matMul for each head, causal by adding a triangle. */
  "tfjs-wasm": async ({ H, N, D, causal, bhnd }) => {
    const tf = await import("@tensorflow/tfjs-core");
    const backend = await import("@tensorflow/tfjs-backend-wasm");
    if (tf.getBackend() !== "wasm") {
      backend.setWasmPaths(
        `${dirname(require.resolve("@tensorflow/tfjs-backend-wasm"))}/`,
      );
      backend.setThreadsCount(1);
      await tf.setBackend("wasm");
      await tf.ready();
    }
    const head = (data, h) => tf.tensor2d(data.subarray(h * N * D, (h + 1) * N * D), [N, D]);
    const heads = Array.from(
      { length: H },
      (_, h) => ["q", "k", "v"].map((name) => head(bhnd[name], h)),
    );
    const triangle = causal
      ? tf.tensor2d(
        Float32Array.from(
          { length: N * N },
          (_, x) => (x % N > Math.floor(x / N) ? -1e9 : 0),
        ),
        [N, N],
      )
      : null;
    return {
      layout: "bhnd",
      run: () => {
        const out = new Float32Array(H * N * D);
        heads.forEach(([q, k, v], h) => {
          const o = tf.tidy(() => {
            // transposeB would leave XNNPACK's path and be 10 times slower.
            const s = tf.mul(tf.matMul(q, tf.transpose(k)), 1 / Math.sqrt(D));
            return tf.matMul(tf.softmax(triangle ? tf.add(s, triangle) : s), v);
          });
          out.set(o.dataSync(), h * N * D);
          o.dispose();
        });
        return out;
      },
      close: () => tf.disposeVariables(),
    };
  },

  "jax-js": async ({ H, N, D, causal, bnhd }) => {
    // It calls iterator helpers, which Node has from version 22 on.
    if (typeof Iterator === "undefined") await import("core-js/actual/iterator/index.js");
    // onnxruntime-web leaves Node's Worker as a global, whose files jax-js cannot name; one thread is all it should have.
    delete globalThis.Worker;
    const { init, defaultDevice, numpy: np, nn, jit } = await import(
      "@jax-js/jax"
    );
    await init("wasm");
    defaultDevice("wasm");
    const array = (data) => np.array(data).reshape([1, N, H, D]);
    const [q, k, v] = ["q", "k", "v"].map((name) => array(bnhd[name]));
    const f = jit((a, b, c) => nn.dotProductAttention(a, b, c, { isCausal: causal }));
    return {
      layout: "bnhd",
      run: async () => (await f(q.ref, k.ref, v.ref).data()),
      close() {},
    };
  },
};
