import { contiguousData, LayerfoldError, type Matrix, tensor } from "@layerfold/core";
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

/** Σ a_i b_i in float64, of two contiguous arrays of one length. */
export function innerProduct(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
