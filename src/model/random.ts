/**
 * pcg32 (PCG-XSH-RR 64/32), M. E. O'Neill, HMC-CS-2014-0905, §6.3: a 64-bit linear congruential state, 32 bits
 * out of each step by xorshift and a rotation that the state picks. Integers alone, so that a seed means the same
 * text on every engine. 0.3 µs a number (BigInt), and a token needs two.
 */
const MULTIPLIER = 6364136223846793005n;

/** Numbers in [0, 1), each a multiple of 2^−53. */
export type Random = () => number;

/** The generator's 32-bit words, as the paper's `pcg32_srandom_r(seed, stream)` starts them. */
export function pcg32(seed: bigint, stream: bigint): () => number {
  const increment = BigInt.asUintN(64, (stream << 1n) | 1n);
  let state = 0n;
  const next = () => {
    const old = state;
    state = BigInt.asUintN(64, old * MULTIPLIER + increment);
    const word = Number(BigInt.asUintN(32, ((old >> 18n) ^ old) >> 27n));
    const turn = Number(old >> 59n);
    return ((word >>> turn) | (word << (-turn & 31))) >>> 0;
  };
  next();
  state = BigInt.asUintN(64, state + seed);
  next();
  return next;
}

/** @param seed Any integer; the same seed gives the same numbers. */
export function createRandom(seed: number): Random {
  const word = pcg32(BigInt.asUintN(64, BigInt(seed)), 54n);
  return () => {
    const high = word() >>> 5;
    return (high * 67108864 + (word() >>> 6)) / 9007199254740992;
  };
}
