/** Quantised attention on the kernels: the suite of the oracle, in both precisions that have a name and some that don't. */
import { quantisedSuite } from "./suites/quantised.ts";
import { sage } from "../src/precision.ts";
import { createRuntime } from "../src/runtime.ts";
import { FLOAT32 } from "../src/verify/arithmetic.ts";

const runtime = await createRuntime();
const attention = runtime.sync.attention;
const options = { arithmetic: FLOAT32, without: ["dropout", "probabilities"] as const };
const own = { granularity: "token", rounding: "half-even", pScale: "tile", vScale: "tile" } as const;

quantisedSuite("int12 on the kernels", attention, "int12", options);
quantisedSuite("int8 on the kernels", attention, "int8", options);
quantisedSuite("int16 on the kernels", attention, sage({ ...own, qk: "int16", pv: "int16" }), options);
quantisedSuite(
  "int8 and float32 on the kernels",
  attention,
  sage({ ...own, qk: "int8", pv: "float32" }),
  options,
);
for (const vScale of ["tile", "head"] as const) {
  quantisedSuite(
    `int8 and float32 by E4M3 on the kernels, a scale a ${vScale}`,
    attention,
    sage({ ...own, qk: "int8", pv: "float32/fp8", smoothV: true, vScale }),
    options,
  );
}
quantisedSuite("int7 on the kernels", attention, sage({ ...own, qk: "int7", pv: "int7" }), options);
quantisedSuite(
  "int4 and int8 on the kernels",
  attention,
  sage({ ...own, qk: "int4", smoothQ: false, pv: "int8" }),
  options,
);
