import { definePlanner, z } from "@layerfold/core";
import { judgeNeeds, requireJudge } from "../required-evidence.js";
import { greedyOptions, greedySearch } from "./greedy-search.js";

/**
 * The same greedy search as `greedy-perplexity`, by the divergence KL(dense ‖ folded) of the next-token distributions: it looks at what
 * the dense model says of every token, not only at the one that came. See `greedySearch` for its cost.
 */
export const greedyKl = definePlanner({
  id: "greedy-kl",
  summary: "drop the layer without which predictions differ least from the dense model's, again and again",
  optionsSchema: z.strictObject(greedyOptions),
  create: (options) => ({
    needs: judgeNeeds("divergence"),
    plan: async (evidence, targetLayerCount, ctx) =>
      greedySearch(
        "greedy-kl",
        requireJudge(evidence, "divergence", "greedy-kl"),
        options,
        evidence,
        targetLayerCount,
        ctx,
      ),
  }),
});
