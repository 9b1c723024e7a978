import { defineSimilarity, z } from "@layerfold/core";
import { canonicalCorrelations, summarize } from "./canonical-correlations.js";
import { type OrthonormalBasis, orthonormalBasis } from "./orthonormal-basis.js";

const optionsSchema = z.strictObject({
  statistic: z
    .enum(["mean", "mean-squared"])
    .default("mean")
    .describe("mean of the canonical correlations, or of their squares"),
});

/**
 * Mean canonical correlation ρ̄ of two layers, or mean squared R²_CCA, in [0, 1] (Hotelling 1936; Kornblith et al. 2019, arXiv 1905.00414,
 * eq. 5 and 6). Invariant to invertible linear maps, so it sees directions of little variance as well as the rest; it grows with features /
 * samples even for independent layers.
 *
 * @throws SAMPLES_TOO_FEW when the features span all that the samples can (features ≥ samples − 1): every value would be 1. LAYER_CONSTANT,
 *   SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE. O(n D²) in the engine and 7D³ operations here, per layer and per pair.
 */
export const cca = defineSimilarity<OrthonormalBasis, typeof optionsSchema>({
  id: "cca",
  summary: "mean canonical correlation",
  optionsSchema,
  create: ({ statistic }) => ({
    traits: {
      symmetric: true,
      stochastic: false,
      range: [0, 1],
      invariantTo: ["translation", "isotropic-scale", "rotation", "linear"],
    },
    prepare: orthonormalBasis,
    compare: async (a, b, ctx) => summarize((await canonicalCorrelations(a, b, ctx)).correlations, statistic),
  }),
});
