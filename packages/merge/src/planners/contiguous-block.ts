import { definePlanner, dropPlan, LayerfoldError, z } from "@layerfold/core";
import { checkTarget, requireTokenStatistics } from "../required-evidence.js";
import { valueAt } from "./fold-pairs.js";

/**
 * Drops the n consecutive layers s … s + n − 1 whose input and output streams differ least in angle:
 * argmin over s of E arccos(cos(x_s, x_{s+n}))/π, x_s the stream before block s (Gromov et al., arXiv 2403.17887, eq. 4).
 * Ties go to the later block.
 *
 * Needs `tokenStatistics`. A drop mixes no weights, so layers of any kind may go.
 */
export const contiguousBlock = definePlanner({
  id: "contiguous-block",
  summary: "drop the run of layers whose input and output differ least in angle (Gromov et al.)",
  optionsSchema: z.strictObject({
    firstLayer: z
      .number()
      .int()
      .min(0)
      .default(1)
      .describe(
        "first layer that may go; 1 keeps the layer behind the embeddings, to which nothing compares",
      ),
  }),
  create: ({ firstLayer }) => ({
    needs: ["tokenStatistics"],
    plan(evidence, targetLayerCount) {
      checkTarget(evidence, targetLayerCount);
      const { angle } = requireTokenStatistics(evidence, "contiguous-block");
      const { layerCount } = evidence;
      const count = layerCount - targetLayerCount;
      if (firstLayer > targetLayerCount) {
        throw new LayerfoldError("PLAN_IMPOSSIBLE", "no run of that many layers lies behind the first", {
          wanted: `at least ${firstLayer} layers left`,
          got: `${targetLayerCount}`,
          where: "planner contiguous-block, option firstLayer",
        });
      }
      let start = firstLayer;
      for (let s = firstLayer; s <= targetLayerCount; s++) {
        if (valueAt(angle, s, s + count) <= valueAt(angle, start, start + count)) start = s;
      }
      const kept = Array.from({ length: targetLayerCount }, (_, i) => (i < start ? i : i + count));
      return dropPlan(layerCount, kept);
    },
  }),
});
