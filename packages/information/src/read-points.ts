import { contiguousData, LayerfoldError, type Matrix, matrixSize } from "@layerfold/core";

/** Points as float64, row-major. */
export interface Points {
  /** [count, dimensions] */
  readonly values: Float64Array;
  readonly count: number;
  readonly dimensions: number;
}

/**
 * Reads a matrix of points for an estimator.
 *
 * @param minimumCount - samples that the estimator needs
 * @throws SAMPLES_TOO_FEW, POINTS_NOT_FINITE naming the row, DIMENSIONS_ZERO
 */
export function readPoints(matrix: Matrix, minimumCount: number): Points {
  const { rows: count, columns: dimensions } = matrixSize(matrix, "points");
  if (dimensions === 0) throw new LayerfoldError("DIMENSIONS_ZERO", "the points have no coordinates");
  if (count < minimumCount) {
    throw new LayerfoldError("SAMPLES_TOO_FEW", "too few samples for this estimator", {
      wanted: `at least ${minimumCount}`,
      got: `${count}`,
    });
  }
  const values = Float64Array.from(contiguousData(matrix));
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new LayerfoldError("POINTS_NOT_FINITE", "a sample holds NaN or an infinity", {
      wanted: "finite numbers",
      got: `${values[bad]}`,
      where: `row ${Math.floor(bad / dimensions)}`,
    });
  }
  return { values, count, dimensions };
}

/** @throws SAMPLE_COUNT_MISMATCH */
export function checkPaired(x: Points, y: Points): void {
  if (x.count !== y.count) {
    throw new LayerfoldError("SAMPLE_COUNT_MISMATCH", "both sides must hold the same samples", {
      wanted: `${x.count} rows`,
      got: `${y.count}`,
    });
  }
}
