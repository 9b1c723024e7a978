import { LayerfoldError, type Matrix, matrixSize } from "@layerfold/core";

/**
 * Checks that the rows of two layers can be the same samples.
 * @throws SAMPLE_COUNT_MISMATCH
 */
export function checkPaired(a: Matrix, b: Matrix): void {
  const wanted = matrixSize(a, "the first layer").rows;
  const got = matrixSize(b, "the second layer").rows;
  if (wanted !== got) {
    throw new LayerfoldError("SAMPLE_COUNT_MISMATCH", "the layers hold different numbers of samples", {
      wanted: `${wanted}`,
      got: `${got}`,
    });
  }
}

/**
 * The common size of two layers that are compared row by row.
 * @throws SAMPLE_COUNT_MISMATCH, FEATURE_COUNT_MISMATCH
 */
export function sameShape(a: Matrix, b: Matrix): { rows: number; columns: number } {
  checkPaired(a, b);
  const [rows, columns] = a.shape;
  if (columns !== b.shape[1]) {
    throw new LayerfoldError("FEATURE_COUNT_MISMATCH", "a measure of rows needs layers of one width", {
      wanted: `${columns} features`,
      got: `${b.shape[1]}`,
    });
  }
  return { rows, columns };
}
