import { contiguousData, type Matrix, type RunContext, tensor } from "@layerfold/core";
import { cholesky, solveTriangular } from "@layerfold/linalg";

/**
 * The upper Cholesky factor U of an inverse, H⁻¹ = Uᵀ·U, without forming the inverse: with J the reversal of order and J·H·J = L·Lᵀ,
 * U = J·L⁻¹·J. Half the work of inverting H and factoring again, and better conditioned.
 *
 * @param h - [n, n] symmetric positive definite
 * @returns [n, n] upper triangular
 * @throws MATRIX_NOT_POSITIVE_DEFINITE
 */
export async function inverseCholesky(
  h: Matrix<Float64Array>,
  ctx: RunContext,
): Promise<Matrix<Float64Array>> {
  const n = h.shape[0];
  const identity = new Float64Array(n * n);
  for (let i = 0; i < n; i++) identity[i * n + i] = 1;
  // Reversing rows and columns of a row-major square matrix is reversing its values.
  const reversed = contiguousData(h).toReversed();
  const lower = await cholesky(tensor(reversed, [n, n]), ctx);
  const inverse = await solveTriangular(lower, tensor(identity, [n, n]), ctx);
  return tensor(contiguousData(inverse).toReversed(), [n, n]);
}
