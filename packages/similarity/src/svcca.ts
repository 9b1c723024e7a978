import { defineSimilarity, z } from "@layerfold/core";
import { canonicalCorrelations, summarize } from "./canonical-correlations.js";
import { leadingDirections, type OrthonormalBasis, orthonormalBasis } from "./orthonormal-basis.js";

const optionsSchema = z.strictObject({
  varianceShare: z
    .number()
    .positive()
    .max(1)
    .default(0.99)
    .describe("share of each layer's variance that is kept"),
  statistic: z
    .enum(["mean", "mean-squared"])
    .default("mean")
    .describe("mean of the canonical correlations, or of their squares"),
});

/**
 * Mean canonical correlation of the leading principal components of two layers, as many as carry `varianceShare` of each layer's
 * variance; in [0, 1] (Raghu et al. 2017, arXiv 1706.05806, §2).
 *
 * @throws SAMPLES_TOO_FEW when the kept components span all that the samples can; LAYER_CONSTANT, SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE.
 *   O(n D m) in the engine and 7m³ operations here per layer, m = min(n, D); 7r³ per pair, r the components kept.
 */
export const svcca = defineSimilarity<OrthonormalBasis, typeof optionsSchema>({
  id: "svcca",
  summary: "mean canonical correlation of the principal components",
  optionsSchema,
  create: ({ varianceShare, statistic }) => ({
    traits: {
      symmetric: true,
      stochastic: false,
      range: [0, 1],
      invariantTo: ["translation", "isotropic-scale", "rotation"],
    },
    prepare: async (layer, ctx) => leadingDirections(await orthonormalBasis(layer, ctx), varianceShare),
    compare: async (a, b, ctx) => summarize((await canonicalCorrelations(a, b, ctx)).correlations, statistic),
  }),
});
