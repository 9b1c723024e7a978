import { defineSimilarity, type Matrix, type RunContext, tensor, z } from "@layerfold/core";
import { centerPoints, cholesky, solveTriangular } from "@layerfold/linalg";
import { inFloat64 } from "./centered-layer.js";
import { sameShape } from "./same-shape.js";

const optionsSchema = z.strictObject({});

/**
 * 1 / (1 + d), d = (1/n) Σ_i √((x_i − y_i)ᵀ Σ⁻¹ (x_i − y_i)) the mean Mahalanobis distance between corresponding rows; in (0, 1], 1 on the
 * diagonal. Σ is the covariance of the rows of both layers together, shrunk towards a multiple of the identity by Ledoit & Wolf 2004
 * (J. Multivar. Anal. 88, eq. 14) so that it can be inverted with more features than samples.
 *
 * @throws FEATURE_COUNT_MISMATCH, SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE, MATRIX_NOT_POSITIVE_DEFINITE when all rows of both layers are the
 *   same. O(n D² + D³) in the engine per pair.
 */
export const mahalanobis = defineSimilarity<Matrix<Float64Array>, typeof optionsSchema>({
  id: "mahalanobis",
  summary: "1/(1 + mean Mahalanobis distance between corresponding rows)",
  optionsSchema,
  create: () => ({
    traits: { symmetric: true, stochastic: false, range: [0, 1], invariantTo: [] },
    prepare: inFloat64,
    compare: async (a, b, ctx) => 1 / (1 + (await meanDistance(a, b, ctx))),
  }),
});

async function meanDistance(
  a: Matrix<Float64Array>,
  b: Matrix<Float64Array>,
  ctx: RunContext,
): Promise<number> {
  const { rows, columns } = sameShape(a, b);
  const stacked = new Float64Array(2 * rows * columns);
  stacked.set(a.data);
  stacked.set(b.data, rows * columns);
  const { covariance } = await ledoitWolf(tensor(stacked, [2 * rows, columns]), ctx);
  const lower = await cholesky(covariance, ctx);
  const differences = a.data.map((value, at) => value - b.data[at]);
  // Column i of the solution is L⁻¹(x_i − y_i), whose length is the distance.
  const { data } = await solveTriangular(lower, tensor(differences, [columns, rows], [1, columns]), ctx);
  const squared = new Float64Array(rows);
  for (let j = 0, at = 0; j < columns; j++) {
    for (let i = 0; i < rows; i++, at++) squared[i] += data[at] * data[at];
  }
  return squared.reduce((sum, value) => sum + Math.sqrt(value), 0) / rows;
}

/**
 * Ledoit & Wolf's covariance: (1 − s)·S + s·μ·I, S the maximum-likelihood covariance, μ = tr S / D, and s the shrinkage of least expected
 * squared error, estimated as scikit-learn does it.
 *
 * @param points - [samples, features]
 */
export async function ledoitWolf(
  points: Matrix<Float64Array>,
  ctx: RunContext,
): Promise<{ covariance: Matrix<Float64Array>; shrinkage: number }> {
  const centered = centerPoints(points).centered as Matrix<Float64Array>;
  const [samples, features] = centered.shape;
  const covariance = await ctx.engine.matmul(centered, centered, { transposeA: true });
  const { data } = covariance;
  let squares = 0;
  let trace = 0;
  for (let at = 0; at < data.length; at++) {
    data[at] /= samples;
    squares += data[at] * data[at];
  }
  for (let j = 0; j < features; j++) trace += data[j * features + j];
  const mean = trace / features;
  let fourth = 0;
  for (let i = 0, at = 0; i < samples; i++) {
    let norm = 0;
    for (let j = 0; j < features; j++, at++) norm += centered.data[at] ** 2;
    fourth += norm * norm;
  }
  const spread = (squares - features * mean * mean) / features;
  const noise = (fourth / samples - squares) / (features * samples);
  const shrinkage = spread > 0 ? Math.min(1, noise / spread) : 0;
  for (let at = 0; at < data.length; at++) data[at] *= 1 - shrinkage;
  for (let j = 0; j < features; j++) data[j * features + j] += shrinkage * mean;
  return { covariance, shrinkage };
}
