import { LayerfoldError, type Matrix, type RunContext, tensor } from "@layerfold/core";
import { cholesky, gram, solveTriangular, symmetricEigen } from "@layerfold/linalg";
import { centeredLayer, inFloat64 } from "./centered-layer.js";

/** The principal directions of a centred layer X = U·diag(singularValues)·Vᵀ, as far as they carry any variance. */
export interface OrthonormalBasis {
  /** U, [samples, rank], orthonormal columns by falling variance. */
  readonly basis: Matrix<Float64Array>;
  /** [rank] descending. */
  readonly singularValues: Float64Array;
  /** [samples, features] float64. */
  readonly centered: Matrix<Float64Array>;
}

/** Directions with less than this share of the largest variance are rounding of the Gram matrix, not data. */
const varianceFloor = 1e-12;

/**
 * Principal directions by the eigenvectors of the smaller Gram matrix, made orthonormal once more by Cholesky (Yamamoto et al. 2015), since
 * those of small variance lose orthogonality.
 *
 * @throws LAYER_CONSTANT, POINTS_NOT_FINITE. O(n·D·m) in the engine and 7m³ operations here, m = min(samples, features).
 */
export async function orthonormalBasis(layer: Matrix, ctx: RunContext): Promise<OrthonormalBasis> {
  const centered = inFloat64(centeredLayer(layer));
  const [samples, features] = centered.shape;
  const wide = features > samples;
  const products = wide
    ? await gram(centered, ctx)
    : await ctx.engine.matmul(centered, centered, { transposeA: true });
  const { values, vectors } = symmetricEigen(products);
  const rank = values.findIndex((value) => !(value > varianceFloor * values[0]));
  const singularValues = values.slice(0, rank === -1 ? values.length : rank).map(Math.sqrt);
  const leading = tensor(vectors.data, [vectors.shape[0], singularValues.length], vectors.stride);
  let basis: Matrix<Float64Array> = wide ? leading : await ctx.engine.matmul(centered, leading);
  if (!wide) basis = scaledColumns(basis, singularValues);
  const lower = await cholesky(await ctx.engine.matmul(basis, basis, { transposeA: true }), ctx);
  const transposed = tensor(basis.data, [singularValues.length, samples], [basis.stride[1], basis.stride[0]]);
  const solved = await solveTriangular(lower, transposed, ctx);
  return {
    basis: tensor(solved.data, [samples, singularValues.length], [1, samples]),
    singularValues,
    centered,
  };
}

/** Columns divided by the factors. */
function scaledColumns(matrix: Matrix<Float64Array>, factors: Float64Array): Matrix<Float64Array> {
  return tensor(
    matrix.data.map((value, at) => value / factors[at % factors.length]),
    matrix.shape,
  );
}

/**
 * Only as many directions as needed for a share of the variance.
 * @param share - (0, 1]
 */
export function leadingDirections(
  { basis, singularValues, centered }: OrthonormalBasis,
  share: number,
): OrthonormalBasis {
  const total = singularValues.reduce((sum, s) => sum + s * s, 0);
  let count = 0;
  for (let sum = 0; sum < share * total && count < singularValues.length; count++)
    sum += singularValues[count] ** 2;
  return {
    basis: tensor(basis.data, [basis.shape[0], count], basis.stride),
    singularValues: singularValues.slice(0, count),
    centered,
  };
}

/**
 * Refuses a layer whose directions span all that the samples can: it would be perfectly correlated with everything.
 * @throws SAMPLES_TOO_FEW
 */
export function checkCorrelatable({ basis }: OrthonormalBasis): void {
  const [samples, rank] = basis.shape;
  if (rank < samples - 1) return;
  throw new LayerfoldError("SAMPLES_TOO_FEW", "the layer's features span every direction of the samples", {
    wanted: `more than ${rank + 1} samples, or fewer features`,
    got: `${samples} samples of rank ${rank}`,
  });
}
