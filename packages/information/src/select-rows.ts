import { contiguousData, LayerfoldError, type Matrix, matrixSize, tensor } from "@layerfold/core";

/** [rows of order, columns] the rows named, in that order. */
export function selectRows(matrix: Matrix, order: Int32Array): Matrix {
  const { columns } = matrixSize(matrix, "layer");
  const values = contiguousData(matrix);
  const length = order.length * columns;
  const data = values instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
  order.forEach((from, to) => {
    data.set(values.subarray(from * columns, (from + 1) * columns), to * columns);
  });
  return tensor(data, [order.length, columns]);
}

/**
 * Rows of both, which are paired.
 * @throws SAMPLE_COUNT_MISMATCH
 */
export function pairedRows(a: Matrix, b: Matrix): number {
  const { rows } = matrixSize(a, "the first layer");
  const other = matrixSize(b, "the second layer").rows;
  if (rows !== other) {
    throw new LayerfoldError("SAMPLE_COUNT_MISMATCH", "both sides must hold the same samples", {
      wanted: `${rows} rows`,
      got: `${other}`,
    });
  }
  return rows;
}
