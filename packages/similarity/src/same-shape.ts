import { LayerfoldError, type Matrix, matrixSize } from "@layerfold/core";

/**
 * The common size of two layers that are compared row by row.
 * @throws SAMPLE_COUNT_MISMATCH, FEATURE_COUNT_MISMATCH
 */
export function sameShape(a: Matrix, b: Matrix): { rows: number; columns: number } {
  const size = matrixSize(a, "the first layer");
  const other = matrixSize(b, "the second layer");
  if (size.rows !== other.rows) {
    throw new LayerfoldError("SAMPLE_COUNT_MISMATCH", "the layers hold different numbers of samples", {
      wanted: `${size.rows}`,
      got: `${other.rows}`,
    });
  }
  if (size.columns !== other.columns) {
    throw new LayerfoldError("FEATURE_COUNT_MISMATCH", "a measure of rows needs layers of one width", {
      wanted: `${size.columns} features`,
      got: `${other.columns}`,
    });
  }
  return size;
}
