import { defineStrategy, z } from "@layerfold/core";
import { differencesFromFirst } from "./magnitude-bounds.js";
import { normPolicy, tensorwise } from "./tensorwise.js";

/**
 * Drop and rescale (DARE, arXiv 2311.03099, eq. 3) of the differences τ_k from the group's first layer: every entry goes with probability
 * `dropRate`, those that stay grow by 1/(1 − dropRate), θ = θ_first + Σ_k w_k·τ̂_k. In expectation it is the weighted mean.
 *
 * @throws LAYERS_INCOMPATIBLE
 */
export const dare = defineStrategy({
  id: "dare",
  summary: "weighted mean in which random entries of the later layers' differences are dropped (DARE)",
  optionsSchema: z.strictObject({
    dropRate: z
      .number()
      .min(0)
      .lt(1)
      .default(0.5)
      .describe(
        "share of the differences from the first layer that is dropped; the rest is scaled up for it",
      ),
    norms: normPolicy,
  }),
  create: ({ dropRate, norms }) => ({
    tensorwise: norms !== "fold",
    merge: (blocks, weights, ctx) => {
      const rng = ctx.rng.fork(`dare ${blocks[0].layer}`);
      return tensorwise((values, _weights, role) => {
        const draw = rng.fork(role);
        const merged = Float64Array.from(values[0]);
        differencesFromFirst(values).forEach((difference, k) => {
          const weight = weights[k + 1] / (1 - dropRate);
          for (let i = 0; i < merged.length; i++) {
            if (draw.uniform() >= dropRate) merged[i] += weight * difference[i];
          }
        });
        return Float32Array.from(merged);
      }, norms)(blocks, weights, ctx);
    },
  }),
});
