import { defineStrategy, LayerfoldError, z } from "@layerfold/core";
import { linearly, normPolicy, tensorwise, weightedSum } from "./tensorwise.js";

/**
 * The weighted mean of a group's tensors, θ̃ = Σ_j w_j·θ_j: MKA's merge (arXiv 2406.16330, eq. 10) with weights that the planner took from
 * the similarity of the layers. Summed in float64, rounded once. A layer of weight 0 is not read, so weights 1, 0, … give the first
 * layer bit for bit.
 *
 * With `weighting: "fixed"` the plan's weights are ignored: from the back of the group to its front, θ ← ratio·θ_l + (1 − ratio)·θ.
 *
 * @throws WEIGHTS_SUM from `merge` when the weights do not sum to 1 within 1e-6; LAYERS_INCOMPATIBLE
 */
export const weighted = defineStrategy({
  id: "weighted",
  summary: "weighted mean of the layers' tensors (MKA)",
  optionsSchema: z.strictObject({
    weighting: z
      .enum(["plan", "fixed"])
      .default("plan")
      .describe("weights: the plan's, or those that `ratio` gives"),
    ratio: z.number().min(0).max(1).default(0.5).describe("the earlier layer's share, for `fixed`"),
    norms: normPolicy,
  }),
  create: ({ weighting, ratio, norms }) => {
    const mean = tensorwise(weightedSum, norms);
    const checked = (planWeights: readonly number[]) => {
      const weights = weighting === "plan" ? planWeights : fixedWeights(planWeights.length, ratio);
      checkWeights(weights);
      return weights;
    };
    return {
      tensorwise: norms !== "fold",
      merge: (blocks, planWeights, ctx) => mean(blocks, checked(planWeights), ctx),
      coefficients: linearly(checked, norms),
    };
  },
});

/** The weights of θ ← ratio·θ_l + (1 − ratio)·θ, run from the last layer to the first. */
export function fixedWeights(count: number, ratio: number): number[] {
  return Array.from({ length: count }, (_, l) => (1 - ratio) ** l * (l < count - 1 ? ratio : 1));
}

export function checkWeights(weights: readonly number[]) {
  const sum = weights.reduce((total, w) => total + w, 0);
  if (Math.abs(sum - 1) <= 1e-6) return;
  throw new LayerfoldError("WEIGHTS_SUM", "the weights of a mean must sum to 1", {
    wanted: "1",
    got: `${sum}`,
    where: `weights [${weights.join(", ")}]`,
  });
}
