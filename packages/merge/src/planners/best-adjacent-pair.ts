import { definePlanner, z } from "@layerfold/core";
import { foldOptions, foldPairs, valueAt } from "./fold-pairs.js";

/**
 * Folds the most similar pair of neighbours, again and again: MKA as the paper tells it ("merges similar layers", arXiv 2406.16330).
 * Ties go to the later pair. θ̃ = a·θ_l + (1 − a)·θ_m, a = S_lm by default, θ_m being the accumulated weights where m is itself a fold.
 *
 * Needs `similarity`, and `remeasure` unless `similarityRefresh` is `pooled`: one run of the merged model per fold, up to the layer behind it.
 */
export const bestAdjacentPair = definePlanner({
  id: "best-adjacent-pair",
  summary: "fold the most similar neighbours, again and again (MKA as the paper tells it)",
  optionsSchema: z.strictObject(foldOptions),
  create: (options) => ({
    needs: ["similarity"],
    plan: (evidence, targetLayerCount, ctx) =>
      foldPairs(
        "best-adjacent-pair",
        evidence,
        targetLayerCount,
        options,
        (candidates, similarity) =>
          candidates.reduce((best, at) =>
            valueAt(similarity, at, at + 1) >= valueAt(similarity, best, best + 1) ? at : best,
          ),
        ctx,
      ),
  }),
});
