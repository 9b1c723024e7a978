import { type Matrix, type Rng, tensor } from "@layerfold/core";

/** A matrix [rows, columns] of independent standard normal numbers, float64. */
export function randomMatrix(rows: number, columns: number, rng: Rng): Matrix<Float64Array> {
  return tensor(
    Float64Array.from({ length: rows * columns }, () => rng.normal()),
    [rows, columns],
  );
}
