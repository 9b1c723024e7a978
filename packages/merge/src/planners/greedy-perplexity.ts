import { definePlanner, z } from "@layerfold/core";
import { judgeDescription, judgeNeeds, judgeOption, requireJudge } from "../required-evidence.js";
import { greedyOptions, greedySearch } from "./greedy-search.js";

/**
 * Drops one layer after another, each time the one without which the calibration loss is least (SLEB, arXiv 2402.09025, algorithm 1);
 * see `greedySearch` for its cost.
 */
export const greedyPerplexity = definePlanner({
  id: "greedy-perplexity",
  summary: "drop the layer that the calibration loss misses least, again and again (SLEB)",
  optionsSchema: z.strictObject({
    ...greedyOptions,
    judge: judgeOption.default("loss").describe(judgeDescription),
  }),
  create: ({ judge, ...options }) => ({
    needs: judgeNeeds(judge),
    plan: async (evidence, targetLayerCount, ctx) =>
      greedySearch(
        "greedy-perplexity",
        requireJudge(evidence, judge, "greedy-perplexity"),
        options,
        evidence,
        targetLayerCount,
        ctx,
      ),
  }),
});
