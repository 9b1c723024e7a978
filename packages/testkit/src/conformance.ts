import type { Floats, Matrix } from "@layerfold/core";
import { contiguousData, tensor } from "@layerfold/core";

/**
 * One law that a plug-in must obey. `run` throws an Error that says what was broken; it knows no test framework:
 * `for (const { name, run } of checks) it(name, run)`.
 */
export interface ConformanceCheck {
  readonly name: string;
  run(): Promise<void>;
}

/** Throws unless the condition holds. */
export function ensure(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** Whether two numbers agree to a tolerance, relative above 1 and absolute below. */
export function close(a: number, b: number, tolerance: number): boolean {
  return a === b || Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(a), Math.abs(b));
}

/** The matrix as a transposed view into larger data full of NaN: whoever ignores strides or the offset reads those. */
export function stridedCopy(matrix: Matrix): Matrix {
  const [rows, columns] = matrix.shape;
  const values = contiguousData(matrix);
  const width = rows + 2;
  const data = sameKind(matrix.data, (columns + 2) * width).fill(Number.NaN) as Floats;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) data[(j + 1) * width + i + 1] = values[i * columns + j];
  }
  return tensor(data, [rows, columns], [1, width], width + 1);
}

/** The matrix with its rows in the given order. */
export function permutedRows(matrix: Matrix, order: Int32Array): Matrix {
  const [rows, columns] = matrix.shape;
  const values = contiguousData(matrix);
  const data = sameKind(matrix.data, rows * columns);
  order.forEach((from, to) => {
    data.set(values.subarray(from * columns, (from + 1) * columns), to * columns);
  });
  return tensor(data, [rows, columns]);
}

function sameKind(data: Floats, length: number): Floats {
  return data instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
}
