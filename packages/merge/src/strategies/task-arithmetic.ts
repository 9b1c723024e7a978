import { defineStrategy, z } from "@layerfold/core";
import { normPolicy, tensorwise } from "./tensorwise.js";

/**
 * θ_first + scale · Σ_k (θ_k − θ_first): task arithmetic (arXiv 2212.04089, section 2), the later layers being what was learned on top of
 * the first. A scale of 1/n of n layers is their mean, 1 is `difference-sum`. The plan's weights are not looked at.
 *
 * @throws LAYERS_INCOMPATIBLE
 */
export const taskArithmetic = defineStrategy({
  id: "task-arithmetic",
  summary: "the first layer plus a share of the later layers' differences from it",
  optionsSchema: z.strictObject({
    scale: z
      .number()
      .default(0.3)
      .describe(
        "factor on the sum of the differences from the first layer: 0 is that layer, 1 / layers the mean",
      ),
    norms: normPolicy,
  }),
  create: ({ scale, norms }) => ({
    tensorwise: norms !== "fold",
    merge: tensorwise(([first, ...later]) => {
      return first.map((x, i) => x + scale * later.reduce((sum, value) => sum + (value[i] - x), 0));
    }, norms),
  }),
});
