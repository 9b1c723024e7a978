import { contiguousData, defineSimilarity, type Matrix, z } from "@layerfold/core";
import { sameShape } from "./same-shape.js";

const optionsSchema = z.strictObject({});

/**
 * 1 / (1 + d), d = (1/n) Σ_i ‖x_i − y_i‖ the mean Euclidean distance between corresponding rows; in (0, 1], 1 on the diagonal.
 *
 * It depends on the scale of the activations: order layers by it, but do not read its values across models.
 *
 * @throws FEATURE_COUNT_MISMATCH. O(samples · features) per pair.
 */
export const euclidean = defineSimilarity<Matrix, typeof optionsSchema>({
  id: "euclidean",
  summary: "1/(1 + mean Euclidean distance between corresponding rows)",
  optionsSchema,
  create: () => ({
    traits: { symmetric: true, stochastic: false, range: [0, 1], invariantTo: [] },
    prepare: (layer) => layer,
    compare: (a, b) => 1 / (1 + meanRowDistance(a, b)),
  }),
});

/** (1/n) Σ_i ‖a_i − b_i‖ */
function meanRowDistance(a: Matrix, b: Matrix): number {
  const { rows, columns } = sameShape(a, b);
  const x = contiguousData(a);
  const y = contiguousData(b);
  let total = 0;
  for (let i = 0, at = 0; i < rows; i++) {
    let squared = 0;
    for (let j = 0; j < columns; j++, at++) squared += (x[at] - y[at]) ** 2;
    total += Math.sqrt(squared);
  }
  return total / rows;
}
