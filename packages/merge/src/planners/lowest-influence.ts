import { definePlanner, dropPlan, z } from "@layerfold/core";
import { checkTarget, requireTokenStatistics } from "../required-evidence.js";
import { valueAt } from "./fold-pairs.js";

/**
 * Drops the layers of least block influence, all at once: BI_l = 1 − E cos(x_l, x_{l+1}), x_l the stream before block l (ShortGPT,
 * arXiv 2403.03853, eq. 1). Ties go to the later layer.
 *
 * Needs `tokenStatistics`. A drop mixes no weights, so layers of any kind may go.
 */
export const lowestInfluence = definePlanner({
  id: "lowest-influence",
  summary: "drop the layers that change the stream's direction least (ShortGPT)",
  optionsSchema: z.strictObject({}),
  create: () => ({
    needs: ["tokenStatistics"],
    plan(evidence, targetLayerCount) {
      checkTarget(evidence, targetLayerCount);
      const { cosine } = requireTokenStatistics(evidence, "lowest-influence");
      const influence = (layer: number) => 1 - valueAt(cosine, layer, layer + 1);
      const order = Array.from({ length: evidence.layerCount }, (_, layer) => layer).sort(
        (a, b) => influence(b) - influence(a) || a - b,
      );
      return dropPlan(
        evidence.layerCount,
        order.slice(0, targetLayerCount).sort((a, b) => a - b),
      );
    },
  }),
});
