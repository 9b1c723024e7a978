import { contiguousData, LayerfoldError, type Matrix, matrixSize, tensor } from "@layerfold/core";
import { centerPoints } from "@layerfold/linalg";

/** A float64 copy of a layer. */
export function inFloat64(layer: Matrix): Matrix<Float64Array> {
  return tensor(Float64Array.from(contiguousData(layer)), layer.shape);
}

/**
 * The layer less its column means, in its own dtype.
 * @throws LAYER_CONSTANT when nothing is left, so that there is nothing to compare; POINTS_NOT_FINITE
 */
export function centeredLayer<M extends Matrix>(layer: M): M {
  const { centered } = centerPoints(layer);
  if (centered.data.every((value) => value === 0)) throw constantLayer();
  return centered as M;
}

export function constantLayer(): LayerfoldError {
  return new LayerfoldError("LAYER_CONSTANT", "all samples of the layer are the same", {
    wanted: "at least two different rows",
  });
}

/** @throws SAMPLE_COUNT_MISMATCH */
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

/** Σ a_i b_i in float64, of two contiguous arrays of one length. */
export function innerProduct(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
