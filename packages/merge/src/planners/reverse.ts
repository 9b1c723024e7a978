import { definePlanner, dropPlan, z } from "@layerfold/core";
import { checkTarget } from "../required-evidence.js";

/** Drops the last layers: the plainest control. */
export const reverse = definePlanner({
  id: "reverse",
  summary: "drop the last layers (control)",
  optionsSchema: z.strictObject({}),
  create: () => ({
    needs: [],
    plan(evidence, targetLayerCount) {
      checkTarget(evidence, targetLayerCount);
      return dropPlan(
        evidence.layerCount,
        Array.from({ length: targetLayerCount }, (_, layer) => layer),
      );
    },
  }),
});
