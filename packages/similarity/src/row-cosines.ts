import { contiguousData, type Floats, LayerfoldError, type Matrix, matrixSize } from "@layerfold/core";
import { sameShape } from "./same-shape.js";

/** A layer whose rows are compared as directions. */
export interface NormedRows {
  readonly layer: Matrix;
  readonly values: Floats;
  /** [samples] squared L2 norms, all positive. */
  readonly squaredNorms: Float64Array;
}

/** @throws ROW_ZERO naming a row that has no direction */
export function normedRows(layer: Matrix): NormedRows {
  const { rows, columns } = matrixSize(layer, "layer");
  const values = contiguousData(layer);
  const squaredNorms = new Float64Array(rows);
  for (let i = 0, at = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < columns; j++, at++) sum += values[at] * values[at];
    squaredNorms[i] = sum;
    if (sum === 0) {
      throw new LayerfoldError("ROW_ZERO", "a row of zeros has no direction", { where: `row ${i}` });
    }
  }
  return { layer, values, squaredNorms };
}

/** The mean over rows of f(cos(a_i, b_i)), cosines held to [−1, 1] against rounding. O(samples · features). */
export function meanOverCosines(a: NormedRows, b: NormedRows, f: (cosine: number) => number): number {
  const { rows, columns } = sameShape(a.layer, b.layer);
  let total = 0;
  for (let i = 0, at = 0; i < rows; i++) {
    let dot = 0;
    for (let j = 0; j < columns; j++, at++) dot += a.values[at] * b.values[at];
    // The root of the product, so that a row's cosine with itself is exactly 1.
    const cosine = dot / Math.sqrt(a.squaredNorms[i] * b.squaredNorms[i]);
    total += f(Math.max(-1, Math.min(1, cosine)));
  }
  return total / rows;
}
