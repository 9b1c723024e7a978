import { defineStrategy, z } from "@layerfold/core";
import { differencesFromFirst, magnitudeBound } from "./magnitude-bounds.js";
import { normPolicy, tensorwise } from "./tensorwise.js";

/**
 * Model breadcrumbs (arXiv 2312.06795, eq. 2): of the differences τ_k from the group's first layer the smallest (noise) and the largest
 * (outliers) are masked, tensor by tensor; θ = θ_first + Σ_k w_k·masked τ_k. With nothing masked it is the weighted mean.
 *
 * @throws LAYERS_INCOMPATIBLE
 */
export const breadcrumbs = defineStrategy({
  id: "breadcrumbs",
  summary: "weighted mean without the smallest and largest of the later layers' differences (breadcrumbs)",
  optionsSchema: z.strictObject({
    smallest: z
      .number()
      .min(0)
      .max(1)
      .default(0.85)
      .describe("share of each tensor's differences that is masked for being small"),
    largest: z.number().min(0).max(1).default(0.01).describe("share that is masked for being large"),
    norms: normPolicy,
  }),
  create: ({ smallest, largest, norms }) => ({
    tensorwise: norms !== "fold",
    merge: tensorwise((values, weights) => {
      const merged = Float64Array.from(values[0]);
      differencesFromFirst(values).forEach((difference, k) => {
        const from = magnitudeBound(difference, smallest);
        const to = magnitudeBound(difference, 1 - largest);
        difference.forEach((x, i) => {
          const size = Math.abs(x);
          if (size >= from && size < to) merged[i] += weights[k + 1] * x;
        });
      });
      return Float32Array.from(merged);
    }, norms),
  }),
});
