import { defineSimilarity, z } from "@layerfold/core";
import { meanOverCosines, type NormedRows, normedRows } from "./row-cosines.js";

const optionsSchema = z.strictObject({});

/**
 * One less the mean angular distance between corresponding rows: 1 − (1/n) Σ_i arccos(cos(x_i, y_i)) / π, in [0, 1] (Gromov et al. 2024,
 * arXiv 2403.17887, eq. 8; there the distance itself). For a block of layers see `blockSimilarity`.
 *
 * @throws ROW_ZERO, FEATURE_COUNT_MISMATCH. O(samples · features) per pair. Near 0 the angle keeps half the digits of the cosine.
 */
export const angular = defineSimilarity<NormedRows, typeof optionsSchema>({
  id: "angular",
  summary: "1 − mean angle/π between corresponding rows",
  optionsSchema,
  create: () => ({
    traits: { symmetric: true, stochastic: false, range: [0, 1], invariantTo: ["isotropic-scale"] },
    prepare: normedRows,
    compare: (a, b) => 1 - meanOverCosines(a, b, Math.acos) / Math.PI,
  }),
});
