/** The golden cases within their derived bounds, on kernels and oracle, and the bits of the oracle's functions. */
import { verifyCase } from "flashtile/verify";
import { sha256 } from "./hash.js";
import { MATH_SHA256, mathBytes, mathFunctions } from "./math.js";
import { vectors } from "./vectors.js";

export async function conformance() {
  const failures = [];
  let total = 0;
  const count = (ok, name) => {
    total++;
    if (!ok) failures.push(name);
  };
  for (const [name, base64] of Object.entries(vectors)) {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    for (const backend of ["deterministic", "reference"]) {
      const { ok } = await verifyCase(bytes, {
        name,
        backend,
        outputs: ["o", "lse"],
      });
      count(ok, `${name} on ${backend}`);
    }
  }
  count(await sha256(mathBytes(mathFunctions)) === MATH_SHA256, "elementary functions");
  return { passed: total - failures.length, total, failures };
}
