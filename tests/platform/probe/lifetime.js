/**
 * 10,000 runtimes created, used and closed one after the other: prints by how many MB the process grew. Ends by itself,
 * or the one who started it will say that it did not.
 */
import { createRuntime } from "flashtile";
import { generator, tensor } from "./data.js";

const CYCLES = 10_000;
const random = generator(1);
const x = tensor(random, [1, 2, 16, 8]);

async function cycle() {
  const rt = await createRuntime();
  await rt.attention(x, x, x, { causal: true });
  rt.close();
  rt.close();
  return rt;
}

const rss = () => process.memoryUsage().rss / 2 ** 20;
// Compiled code and the engine's own pools are there after the first hundred.
for (let n = 0; n < 100; n++) await cycle();
const before = rss();
let most = before;
for (let n = 0; n < CYCLES; n++) {
  await cycle();
  if (n % 500 === 0) most = Math.max(most, rss());
}
most = Math.max(most, rss());

const closed = await cycle();
const answers = await Promise.allSettled([closed.attention(x, x, x)]);
let sync;
try {
  closed.sync.attention(x, x, x);
} catch (error) {
  sync = error;
}
if (answers[0].status !== "rejected" || !sync) {
  throw new Error("a closed runtime still answers");
}
console.log(`ROW ${JSON.stringify({ growth: most - before })}`);
