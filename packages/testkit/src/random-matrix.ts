import { type Matrix, type Rng, tensor } from "@layerfold/core";

/** A matrix [rows, columns] of independent standard normal numbers. */
export function randomMatrix<T extends "float32" | "float64" = "float64">(
  rows: number,
  columns: number,
  rng: Rng,
  dtype?: T,
): Matrix<T extends "float32" ? Float32Array : Float64Array> {
  const data = dtype === "float32" ? new Float32Array(rows * columns) : new Float64Array(rows * columns);
  for (let at = 0; at < data.length; at++) data[at] = rng.normal();
  return tensor(data, [rows, columns]) as unknown as Matrix<
    T extends "float32" ? Float32Array : Float64Array
  >;
}
