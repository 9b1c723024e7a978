import { definePlanner, dropPlan, LayerfoldError, z } from "@layerfold/core";
import { checkTarget } from "../required-evidence.js";

/** Drops layers drawn uniformly with `ctx.rng`: the control that any evidence has to beat. */
export const random = definePlanner({
  id: "random",
  summary: "drop layers drawn at random (control)",
  optionsSchema: z.strictObject({
    firstLayer: z
      .number()
      .int()
      .min(0)
      .default(1)
      .describe(
        "first layer that may go. Without the layer behind the embeddings a model is no more than noise, and nothing to compare with",
      ),
  }),
  create: ({ firstLayer }) => ({
    needs: [],
    plan(evidence, targetLayerCount, ctx) {
      checkTarget(evidence, targetLayerCount);
      const { layerCount } = evidence;
      if (firstLayer > targetLayerCount) {
        throw new LayerfoldError("PLAN_IMPOSSIBLE", "too few layers may go", {
          wanted: `at least ${firstLayer} layers left`,
          got: `${targetLayerCount}`,
          where: "planner random, option firstLayer",
        });
      }
      const drawn = ctx.rng.fork("random planner").permutation(layerCount - firstLayer);
      const kept = drawn.slice(0, targetLayerCount - firstLayer).map((layer) => firstLayer + layer);
      const first = Array.from({ length: firstLayer }, (_, layer) => layer);
      return dropPlan(layerCount, [...first, ...kept.sort()]);
    },
  }),
});
