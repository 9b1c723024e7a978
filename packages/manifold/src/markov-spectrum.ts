import { type Matrix, type RunContext, tensor } from "@layerfold/core";
import { largestEigenpairs, type SymmetricOperator } from "@layerfold/linalg";
import type { Affinity } from "./affinity.js";

/** A Markov chain on the points, as the symmetric matrix that is conjugate to it. */
export interface MarkovChain {
  /** A = K¹/(v·vᵀ), without its matrix being formed. */
  readonly operator: SymmetricOperator;
  /** [size] weights p^−α by which columns of K enter K¹. */
  readonly columnWeights: Float64Array;
  /** [size, 1] u₀ = v/‖v‖, positive, of eigenvalue 1. */
  readonly stationary: Matrix<Float64Array>;
}

/** Nontrivial eigenpairs of a Markov chain, eigenvalues descending. */
export interface MarkovSpectrum {
  /** [count] λ₁ ≥ λ₂ ≥ … */
  readonly values: Float64Array;
  /** [size, count] right eigenvectors ψ_k = u_k/u₀, each with its entry of largest magnitude positive. */
  readonly vectors: Matrix<Float64Array>;
}

/**
 * The anisotropic normalisation of Coifman & Lafon (2006, eq. 9 ff.): p = K·1, K¹ = K/(p·pᵀ)^α, v = √(K¹·1), A = K¹/(v·vᵀ).
 *
 * @param alpha - 0 keeps the density of the points in the geometry, 1 takes it out
 */
export function markovChain(affinity: Affinity, alpha: number): MarkovChain {
  const { size } = affinity;
  const columnWeights = affinity.times(new Float64Array(size).fill(1)).map((p) => p ** -alpha);
  const degree = affinity.times(columnWeights).map((sum, i) => sum * columnWeights[i]);
  const scale = columnWeights.map((weight, i) => weight / Math.sqrt(degree[i]));
  let total = 0;
  for (const value of degree) total += value;
  return {
    columnWeights,
    stationary: tensor(
      degree.map((value) => Math.sqrt(value / total)),
      [size, 1],
    ),
    operator: {
      size,
      async apply(block) {
        const width = block.shape[1];
        const scaled = new Float64Array(size * width);
        for (let i = 0; i < size; i++) {
          const from = block.offset + i * block.stride[0];
          for (let c = 0; c < width; c++)
            scaled[i * width + c] = scale[i] * block.data[from + c * block.stride[1]];
        }
        const product = await affinity.multiply(tensor(scaled, [size, width]));
        for (let i = 0; i < size; i++) {
          for (let c = 0; c < width; c++) scaled[i * width + c] = scale[i] * product.data[i * width + c];
        }
        return tensor(scaled, [size, width]);
      },
    },
  };
}

/**
 * @param wanted - pairs, fewer than points; one more is returned where there is one, good enough to know the gap behind the last
 * @param tolerance - of the eigenpairs' residuals, as `largestEigenpairs` has it
 */
export async function markovSpectrum(
  chain: MarkovChain,
  wanted: number,
  tolerance: number,
  ctx: RunContext,
): Promise<MarkovSpectrum> {
  const count = Math.min(wanted + 1, chain.operator.size - 1);
  const { values, vectors } = await largestEigenpairs(chain.operator, count, ctx, {
    known: chain.stationary,
    tolerance,
    guardCount: count - wanted,
  });
  const { size } = chain.operator;
  for (let k = 0; k < count; k++) {
    let largest = 0;
    for (let i = 0; i < size; i++) {
      const value = (vectors.data[i * count + k] /= chain.stationary.data[i]);
      if (Math.abs(value) > Math.abs(largest)) largest = value;
    }
    if (largest < 0) for (let i = 0; i < size; i++) vectors.data[i * count + k] *= -1;
  }
  return { values, vectors };
}
