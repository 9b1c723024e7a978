import { contiguousData, type Matrix, tensor } from "@layerfold/core";

/** A copy of some rows of a matrix, in the order asked for. */
export function takeRows(points: Matrix, rows: Int32Array): Matrix {
  const columns = points.shape[1];
  const values = contiguousData(points);
  const length = rows.length * columns;
  const taken = values instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
  rows.forEach((row, i) => {
    taken.set(values.subarray(row * columns, (row + 1) * columns), i * columns);
  });
  return tensor(taken, [rows.length, columns]);
}
