/** First attention of a fresh process, N=128 H=4 D=64: what a serverless start pays. */
import { attention } from "flashtile";

const x = {
  data: new Float32Array(4 * 128 * 64).fill(0.5),
  shape: [1, 4, 128, 64],
};
const { out } = attention(x, x, x);
if (Math.abs(out.data[0] - 0.5) > 1e-6) {
  throw new Error(`expected 0.5, got ${out.data[0]}`);
}
