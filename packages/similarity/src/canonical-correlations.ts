import { type Matrix, type RunContext, tensor } from "@layerfold/core";
import { symmetricEigen } from "@layerfold/linalg";
import { checkCorrelatable, type OrthonormalBasis } from "./orthonormal-basis.js";
import { checkPaired } from "./same-shape.js";

/** Canonical correlations of two layers (Hotelling 1936): the cosines of the principal angles between their column spaces. */
export interface CanonicalCorrelations {
  /** [min(rank, rank)] descending, in [0, 1]. */
  readonly correlations: Float64Array;
  /** [rank of the first, min(rank, rank)] the directions of the first layer that are so correlated, in its basis. */
  readonly directions: Matrix<Float64Array>;
}

/** @throws SAMPLES_TOO_FEW, SAMPLE_COUNT_MISMATCH. O(n r²) in the engine and 7r³ operations here, r the first layer's rank. */
export async function canonicalCorrelations(
  a: OrthonormalBasis,
  b: OrthonormalBasis,
  ctx: RunContext,
): Promise<CanonicalCorrelations> {
  checkPaired(a.basis, b.basis);
  checkCorrelatable(a);
  checkCorrelatable(b);
  const cross = await ctx.engine.matmul(a.basis, b.basis, { transposeA: true });
  const count = Math.min(...cross.shape);
  const { values, vectors } = symmetricEigen(await ctx.engine.matmul(cross, cross, { transposeB: true }));
  // Rounding may put the squares of the correlations just outside [0, 1].
  const correlations = values.slice(0, count).map((value) => Math.sqrt(Math.min(1, Math.max(0, value))));
  return { correlations, directions: tensor(vectors.data, [vectors.shape[0], count], vectors.stride) };
}

/** How correlations become one number. */
export function summarize(correlations: Float64Array, statistic: "mean" | "mean-squared"): number {
  return correlations.reduce((sum, r) => sum + (statistic === "mean" ? r : r * r), 0) / correlations.length;
}
