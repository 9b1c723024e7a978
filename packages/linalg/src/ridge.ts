import {
  contiguousData,
  isLayerfoldError,
  LayerfoldError,
  type Matrix,
  type RunContext,
  tensor,
} from "@layerfold/core";
import { cholesky, choleskySolve } from "./cholesky.js";

/** The normal equations of a linear fit, accumulated in float64. */
export interface RidgeProblem {
  /** [features, features] AᵀA */
  readonly gram: Matrix<Float64Array>;
  /** [features, targets] AᵀT */
  readonly cross: Matrix<Float64Array>;
  /** Share of the Gram's mean diagonal: λ = ridge · tr(AᵀA) / features. At least 0. */
  readonly ridge: number;
  /** [features, targets] the solution that λ pulls towards; default zeros. */
  readonly prior?: Matrix;
  /** Lends the memory of `gram` and `cross` to the work; both are then spoilt. */
  readonly overwrite?: boolean;
}

/**
 * argmin over W of ‖A·W − T‖² + λ‖W − W₀‖², that is (AᵀA + λI)⁻¹ (AᵀT + λW₀), by Cholesky in float64.
 *
 * @returns [features, targets]
 * @throws MATRIX_NOT_POSITIVE_DEFINITE when the Gram is singular and the ridge too small. O(features³ + features²·targets).
 */
export async function ridgeLeastSquares(
  problem: RidgeProblem,
  ctx: RunContext,
): Promise<Matrix<Float64Array>> {
  const size = problem.gram.shape[0];
  const copied = (data: Float64Array) => (problem.overwrite ? data : new Float64Array(data));
  const gram = copied(contiguousData(problem.gram));
  let trace = 0;
  for (let i = 0; i < size; i++) trace += gram[i * size + i];
  const lambda = (problem.ridge * trace) / size;
  for (let i = 0; i < size; i++) gram[i * size + i] += lambda;
  const right = copied(contiguousData(problem.cross));
  if (problem.prior) pull(right, problem.prior, lambda);
  const lower = await cholesky(tensor(gram, [size, size]), ctx, { overwrite: true }).catch((error) => {
    if (!isLayerfoldError(error, "MATRIX_NOT_POSITIVE_DEFINITE")) throw error;
    throw new LayerfoldError(error.code, "the Gram is singular, and the ridge too small to help", {
      wanted: `a ridge above ${problem.ridge}, or more samples`,
      cause: error,
    });
  });
  return choleskySolve(lower, tensor(right, problem.cross.shape), ctx, { overwrite: true });
}

/** Of its own, so that a contiguous copy of the prior does not live on through the solution. */
function pull(right: Float64Array, prior: Matrix, lambda: number): void {
  const data = contiguousData(prior);
  for (let i = 0; i < right.length; i++) right[i] += lambda * data[i];
}
