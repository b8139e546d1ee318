/**
 * The oracle's elementary functions of float64. Math.exp and its like differ between JavaScript engines; these use
 * + − × ÷, comparisons and bit operations only, all of which IEEE 754 and ECMAScript pin down, so that every engine
 * gives the same bits. Errors stay below 0.57 ulp of the exact value (1 ulp = distance of the doubles next to it,
 * 2^−1074 among subnormals): each function states its own.
 */

export { exp, exp2 } from "./math/exp.ts";
export { expm1, sigmoid, tanh } from "./math/expm1.ts";
export { log, log1p } from "./math/log.ts";
export { log2 } from "./math/log2.ts";
export { pow } from "./math/pow.ts";
export { cos, sin } from "./math/trig.ts";
