import { defineStrategy, z } from "@layerfold/core";
import { differencesFromFirst, magnitudeBound } from "./magnitude-bounds.js";
import { normPolicy, tensorwise } from "./tensorwise.js";

/**
 * Trim, elect, merge (TIES, arXiv 2306.01708, algorithm 1) of the differences τ_k from the group's first layer: of each τ_k the largest
 * `density` stays; every entry takes the sign of Σ_k τ_k; θ = θ_first + scale · the mean of the entries that have that sign.
 * The plan's weights are not looked at.
 *
 * @throws LAYERS_INCOMPATIBLE
 */
export const ties = defineStrategy({
  id: "ties",
  summary: "the first layer plus the later layers' largest differences, where they agree in sign (TIES)",
  optionsSchema: z.strictObject({
    density: z
      .number()
      .gt(0)
      .max(1)
      .default(0.2)
      .describe("share of each tensor's differences that is kept, the largest"),
    scale: z.number().default(1).describe("factor on the merged differences"),
    norms: normPolicy,
  }),
  create: ({ density, scale, norms }) => ({
    tensorwise: norms !== "fold",
    merge: tensorwise((values) => {
      const trimmed = differencesFromFirst(values).map((difference) => {
        const bound = magnitudeBound(difference, 1 - density);
        return difference.map((x) => (Math.abs(x) >= bound ? x : 0));
      });
      return values[0].map((x, i) => {
        const sign = Math.sign(trimmed.reduce((sum, difference) => sum + difference[i], 0));
        let [sum, count] = [0, 0];
        for (const difference of trimmed) {
          if (difference[i] === 0 || Math.sign(difference[i]) !== sign) continue;
          sum += difference[i];
          count++;
        }
        return count === 0 ? x : x + (scale * sum) / count;
      });
    }, norms),
  }),
});
