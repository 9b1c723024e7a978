import { defineEmbedding, type Matrix, z } from "@layerfold/core";

/**
 * The points themselves, untouched: measures that work on raw activations.
 */
export const identity = defineEmbedding({
  id: "identity",
  summary: "the points themselves",
  optionsSchema: z.strictObject({}),
  create: () => ({
    fit: async (points: Matrix) => ({ coordinates: points, transform: (more: Matrix) => more }),
  }),
});
