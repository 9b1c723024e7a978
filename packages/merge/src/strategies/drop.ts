import { defineStrategy, z } from "@layerfold/core";
import { onlyBlock } from "./tensorwise.js";

/**
 * Keeps the layer of largest weight as it is, the first of equals, and throws the others away: the control of every merge. `keep: "first"`
 * does not look at the weights, as MKA's released script does: it assigns the merged tensors to a copy, so nothing is merged.
 */
export const drop = defineStrategy({
  id: "drop",
  summary: "keep one layer of each group, throw the others away",
  optionsSchema: z.strictObject({
    keep: z
      .enum(["heaviest", "first"])
      .default("heaviest")
      .describe(
        "the layer that is kept: that of the largest weight (the first of equals), or the first whatever the weights",
      ),
  }),
  create: ({ keep }) => {
    const kept = (weights: readonly number[]) =>
      keep === "first" ? 0 : weights.indexOf(Math.max(...weights));
    return {
      drops: true,
      tensorwise: true,
      merge: (blocks, weights) => blocks[kept(weights)],
      coefficients: (weights) => onlyBlock(kept(weights), weights.length),
    };
  },
});
