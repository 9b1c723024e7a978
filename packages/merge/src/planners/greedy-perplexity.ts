import { definePlanner, dropPlan, LayerfoldError, throwIfAborted, z } from "@layerfold/core";
import { checkTarget, judgeNeeds, judgeOption, requireLoss } from "../required-evidence.js";

/**
 * Drops one layer after another, each time the one without which the calibration loss is least (SLEB, arXiv 2402.09025, algorithm 1).
 * Ties go to the later layer.
 *
 * Needs `evaluate`: with `candidateCount` 0 one evaluation per layer that is left and per layer dropped, O(layers · dropped). With a
 * positive one only the first round tries every layer; later ones try the candidates that did best when they were last tried.
 */
export const greedyPerplexity = definePlanner({
  id: "greedy-perplexity",
  summary: "drop the layer that the calibration loss misses least, again and again (SLEB)",
  optionsSchema: z.strictObject({
    /** First layer that may go. */
    firstLayer: z.number().int().min(0).default(1),
    /** Candidates tried in every round but the first; 0 = all. */
    candidateCount: z.number().int().min(0).default(0),
    /**
     * Most layers that one layer may come to stand for, itself included; 0 = any number. Small groups suit `component-fold`. Where too
     * few layers are left for it, it grows, and that is reported.
     */
    largestGroup: z.number().int().min(0).default(0),
    /** Whether the loss is that of the dropped layers or that after fold and repair, which costs a fold per trial. */
    judge: judgeOption.default("dropped"),
  }),
  create: ({ firstLayer, candidateCount, largestGroup, judge }) => ({
    needs: judgeNeeds(judge),
    async plan(evidence, targetLayerCount, ctx) {
      checkTarget(evidence, targetLayerCount);
      const { layerCount } = evidence;
      const evaluate = requireLoss(evidence, judge, "greedy-perplexity");
      let kept = Array.from({ length: layerCount }, (_, layer) => layer);
      const lastLoss = new Map<number, number>();
      const without = (layer: number) =>
        dropPlan(
          layerCount,
          kept.filter((l) => l !== layer),
        );
      let limit = largestGroup === 0 ? layerCount : largestGroup;
      const fits = (layer: number) => without(layer).groups.every((group) => group.layers.length <= limit);
      while (kept.length > targetLayerCount) {
        const free = kept.filter((layer) => layer >= firstLayer);
        if (free.length === 0) {
          throw new LayerfoldError("PLAN_IMPOSSIBLE", "no further layer may go", {
            wanted: `${targetLayerCount} layers`,
            got: `${kept.length}`,
            where: "planner greedy-perplexity, option firstLayer",
          });
        }
        while (!free.some(fits)) {
          limit++;
          ctx.report?.({
            type: "diagnostic",
            severity: "warning",
            code: "GROUPS_GROW",
            message: `greedy-perplexity: ${kept.length - 1} of ${layerCount} layers cannot be left in groups of ${limit - 1}, so up to ${limit} fold into one`,
          });
        }
        const open = free.filter(fits);
        const promising = [...open].sort((a, b) => (lastLoss.get(a) ?? 0) - (lastLoss.get(b) ?? 0));
        const tried = candidateCount === 0 || lastLoss.size === 0 ? open : promising.slice(0, candidateCount);
        // Front to back, so that an evaluator that remembers the streams of the last plan runs the fewest layers.
        for (const layer of tried.sort((a, b) => a - b)) {
          throwIfAborted(ctx.signal);
          lastLoss.set(layer, await evaluate(without(layer)));
        }
        const gone = tried.reduce((best, layer) =>
          lastLoss.get(layer)! <= lastLoss.get(best)! ? layer : best,
        );
        kept = kept.filter((layer) => layer !== gone);
        lastLoss.delete(gone);
        ctx.report?.({
          type: "progress",
          stage: "plan",
          done: layerCount - kept.length,
          total: layerCount - targetLayerCount,
          unit: "layers",
        });
      }
      return dropPlan(layerCount, kept);
    },
  }),
});
