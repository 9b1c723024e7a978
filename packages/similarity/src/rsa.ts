import { defineSimilarity, z } from "@layerfold/core";
import { averageRanks, squaredDistances } from "@layerfold/linalg";
import { alignment, alignmentOfAll, type CenteredKernel, unitKernel } from "./kernel-alignment.js";
import { pairs } from "./rbf-cka.js";

const optionsSchema = z.strictObject({});

/**
 * Representational similarity analysis: Spearman's rank correlation of the Euclidean distances between samples in one layer and in the other,
 * over pairs i < j, in [−1, 1] (Kriegeskorte, Mur & Bandettini 2008).
 *
 * @throws LAYER_CONSTANT when all distances are equal, SAMPLE_COUNT_MISMATCH, POINTS_NOT_FINITE. One [n, n] product per layer and a sort of
 *   n²/2 numbers, which are kept; n²/2 operations per pair.
 */
export const rsa = defineSimilarity<CenteredKernel, typeof optionsSchema>({
  id: "rsa",
  summary: "Spearman correlation of the distances between samples",
  optionsSchema,
  create: () => ({
    traits: {
      symmetric: true,
      stochastic: false,
      range: [-1, 1],
      invariantTo: ["translation", "isotropic-scale", "rotation"],
    },
    async prepare(layer, ctx) {
      // Squares have the ranks of what they are squares of.
      const distances = await squaredDistances(layer, ctx);
      const ranks = averageRanks(pairs(distances));
      const mean = (ranks.length - 1) / 2;
      for (let at = 0; at < ranks.length; at++) ranks[at] -= mean;
      return unitKernel(distances.shape[0], ranks);
    },
    compare: alignment,
    compareAll: alignmentOfAll,
  }),
});
