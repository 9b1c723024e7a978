import {
  contiguousData,
  type Floats,
  LayerfoldError,
  type Matrix,
  matrixSize,
  tensor,
} from "@layerfold/core";

/** Points with the mean of some set of points taken away. */
export interface CenteredPoints {
  /** [samples, features] as they came, contiguous. */
  readonly original: Floats;
  /** [samples, features] less the mean, in the points' own dtype, row-major. */
  readonly centered: Matrix;
  /** [features] */
  readonly mean: Float64Array;
}

/**
 * Subtracts a mean from every row, so that products of rows lose no digits to a common offset.
 *
 * @param points - [samples, features]
 * @param mean - [features]; default the points' own
 * @throws POINTS_NOT_FINITE naming the first row with NaN or an infinity; SAMPLES_TOO_FEW without rows. O(samples · features).
 */
export function centerPoints(points: Matrix, mean?: Float64Array): CenteredPoints {
  const { rows, columns } = matrixSize(points, "points");
  if (mean && mean.length !== columns) {
    throw new LayerfoldError("TENSOR_SHAPE", "the points have another number of features", {
      wanted: `${mean.length}`,
      got: `${columns}`,
    });
  }
  // A finite mean vouches for the points it was taken of.
  if (mean) requireFinite(points);
  const center = mean ?? columnMean(points);
  const original = contiguousData(points);
  const centered =
    original instanceof Float64Array ? new Float64Array(original.length) : new Float32Array(original.length);
  for (let i = 0, at = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++, at++) centered[at] = original[at] - center[j];
  }
  return { original, centered: tensor(centered, [rows, columns]), mean: center };
}

/**
 * Means of the columns of [samples, features], summed in float64.
 * @throws POINTS_NOT_FINITE, SAMPLES_TOO_FEW
 */
export function columnMean(points: Matrix): Float64Array {
  const { rows, columns } = matrixSize(points, "points");
  if (rows === 0) {
    throw new LayerfoldError("SAMPLES_TOO_FEW", "there are no samples", { wanted: "at least 1", got: "0" });
  }
  const values = contiguousData(points);
  const mean = new Float64Array(columns);
  for (let i = 0, at = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++, at++) mean[j] += values[at];
  }
  if (!mean.every(Number.isFinite)) requireFinite(points);
  for (let j = 0; j < columns; j++) mean[j] /= rows;
  return mean;
}

/**
 * Checks that no sample holds NaN or an infinity.
 * @param points - [samples, features]
 * @throws POINTS_NOT_FINITE naming the first row that does
 */
export function requireFinite(points: Matrix): void {
  const { rows, columns } = matrixSize(points, "points");
  const values = contiguousData(points);
  for (let i = 0, at = 0; i < rows; i++) {
    // x − x is 0 for finite x, and NaN otherwise.
    let sum = 0;
    for (let j = 0; j < columns; j++, at++) sum += values[at] - values[at];
    if (sum !== 0) throw notFinite(i);
  }
}

function notFinite(row: number): LayerfoldError {
  return new LayerfoldError("POINTS_NOT_FINITE", "a sample holds NaN or an infinity", {
    wanted: "finite numbers",
    where: `row ${row}`,
  });
}
