import {
  contiguousData,
  isLayerfoldError,
  LayerfoldError,
  type Matrix,
  type RunContext,
  tensor,
} from "@layerfold/core";
import { addToDiagonal, type SymmetricTiles, symmetricCopy, symmetricDiagonal } from "./symmetric-tiles.js";
import { tiledCholesky, tiledSolve } from "./tiled-cholesky.js";

/** The normal equations of a linear fit. Gram and cross are of one dtype, in which the fit is solved. */
export interface RidgeProblem {
  /** [features, features] AᵀA */
  readonly gram: SymmetricTiles;
  /** [features, targets] AᵀT, row-major */
  readonly cross: Matrix;
  /** Share of the Gram's mean diagonal: λ = ridge · tr(AᵀA) / features. At least 0. */
  readonly ridge: number;
  /** [features, targets] the solution that λ pulls towards; default zeros. */
  readonly prior?: Matrix;
  /** Lends the memory of `gram` and `cross` to the work; both are then spoilt. */
  readonly overwrite?: boolean;
}

/** A ridge problem solved, and what it was solved with. */
export interface RidgeSolution {
  /** What {@link tiledCholesky} leaves of AᵀA + λI. */
  readonly lower: SymmetricTiles;
  /** [features, targets], of the problem's dtype */
  readonly weights: Matrix;
}

/**
 * argmin over W of ‖A·W − T‖² + λ‖W − W₀‖², that is (AᵀA + λI)⁻¹ (AᵀT + λW₀), by Cholesky.
 *
 * @returns [features, targets], of the problem's dtype
 * @throws MATRIX_NOT_POSITIVE_DEFINITE when the Gram is singular and the ridge too small. O(features³ + features²·targets).
 */
export async function ridgeLeastSquares(problem: RidgeProblem, ctx: RunContext): Promise<Matrix> {
  return (await ridgeSolution(problem, ctx)).weights;
}

/**
 * The same, with the factor that it was solved with.
 * @throws MATRIX_NOT_POSITIVE_DEFINITE when the Gram is singular and the ridge too small. O(features³ + features²·targets).
 */
export async function ridgeSolution(problem: RidgeProblem, ctx: RunContext): Promise<RidgeSolution> {
  const { overwrite, ridge, prior } = problem;
  const gram = overwrite ? problem.gram : symmetricCopy(problem.gram);
  const given = contiguousData(problem.cross);
  const right = tensor(overwrite ? given : given.slice(), problem.cross.shape) as Matrix;
  const lambda = (ridge * symmetricDiagonal(gram).reduce((sum, value) => sum + value, 0)) / gram.size;
  addToDiagonal(gram, lambda);
  if (prior) pull(right.data, prior, lambda);
  await tiledCholesky(gram, ctx).catch((error) => {
    if (!isLayerfoldError(error, "MATRIX_NOT_POSITIVE_DEFINITE")) throw error;
    throw new LayerfoldError(error.code, "the Gram is singular, and the ridge too small to help", {
      wanted: `a ridge above ${ridge}, or more samples`,
      cause: error,
    });
  });
  await tiledSolve(gram, right, ctx);
  return { lower: gram, weights: right };
}

/** Of its own, so that a contiguous copy of the prior does not live on through the solution. */
function pull(right: Matrix["data"], prior: Matrix, lambda: number): void {
  const data = contiguousData(prior);
  for (let i = 0; i < right.length; i++) right[i] += lambda * data[i];
}
