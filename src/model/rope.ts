/**
 * Angles of rotary position embedding: cos and sin of p·ω_i, ω_i = θ^(−2i/D), for i < D/2; dimensions i and i + D/2
 * turn together (the half-split order of Hugging Face's Llama).
 *
 * Source: RoFormer (arXiv 2104.09864) §3.2.2; "llama3" scaling: Llama 3.1's published code (wavelengths beyond the
 * old context are stretched, short ones kept, between them a linear blend). All of it from the bit-stable functions
 * of the oracle, so that every engine turns by the same angles. Bytes: 8·positions·D.
 */
import { cos, pow, sin } from "../reference/math.ts";
import type { LlamaConfig, RopeScaling } from "./config.ts";

export interface RopeTables {
  readonly positions: number;
  /** [positions, D/2]. */
  readonly cos: Float64Array;
  readonly sin: Float64Array;
}

/** ω_i for i < D/2. */
export function inverseFrequencies(
  { headDim, ropeTheta, ropeScaling }: Pick<LlamaConfig, "headDim" | "ropeTheta" | "ropeScaling">,
): Float64Array {
  const frequencies = new Float64Array(headDim / 2);
  for (let i = 0; i < frequencies.length; i++) {
    frequencies[i] = stretch(1 / pow(ropeTheta, 2 * i / headDim), ropeScaling);
  }
  return frequencies;
}

function stretch(frequency: number, scaling: RopeScaling): number {
  if (scaling.type === "default") return frequency;
  if (scaling.type === "linear") return frequency / scaling.factor;
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalPositions } = scaling;
  // Turns over the old context: originalPositions / wavelength.
  const turns = originalPositions * frequency / (2 * Math.PI);
  if (turns < lowFrequencyFactor) return frequency / factor;
  if (turns > highFrequencyFactor) return frequency;
  const smooth = (turns - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

/** The tables of positions 0 … positions − 1. */
export function ropeTables(
  config: Pick<LlamaConfig, "headDim" | "ropeTheta" | "ropeScaling">,
  positions: number,
): RopeTables {
  const frequencies = inverseFrequencies(config);
  const half = frequencies.length;
  const tables = {
    positions,
    cos: new Float64Array(positions * half),
    sin: new Float64Array(positions * half),
  };
  for (let p = 0; p < positions; p++) {
    for (let i = 0; i < half; i++) {
      const angle = p * frequencies[i];
      tables.cos[p * half + i] = cos(angle);
      tables.sin[p * half + i] = sin(angle);
    }
  }
  return tables;
}
