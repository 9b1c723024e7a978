import { defineSimilarity, z } from "@layerfold/core";
import { meanOverCosines, type NormedRows, normedRows } from "./row-cosines.js";

const optionsSchema = z.strictObject({});

/**
 * Mean cosine between corresponding rows: (1/n) Σ_i ⟨x_i, y_i⟩ / (‖x_i‖ ‖y_i‖), in [−1, 1], 1 on the diagonal.
 *
 * @throws ROW_ZERO for a row without direction; FEATURE_COUNT_MISMATCH, since rows are compared coordinate by coordinate.
 *   O(samples · features) per pair.
 */
export const cosine = defineSimilarity<NormedRows, typeof optionsSchema>({
  id: "cosine",
  summary: "mean cosine between corresponding rows",
  optionsSchema,
  create: () => ({
    traits: { symmetric: true, stochastic: false, range: [-1, 1], invariantTo: ["isotropic-scale"] },
    prepare: normedRows,
    compare: (a, b) => meanOverCosines(a, b, (value) => value),
  }),
});
