import { defineEmbedding, type Matrix, z } from "@layerfold/core";
import { requireFinite } from "@layerfold/linalg";

/**
 * The points themselves, untouched: for measures that work on raw activations.
 *
 * Errors: POINTS_NOT_FINITE, naming the row.
 */
export const identity = defineEmbedding({
  id: "identity",
  summary: "the points themselves",
  optionsSchema: z.strictObject({}),
  create: () => ({
    async fit(points: Matrix) {
      requireFinite(points);
      return { coordinates: points, transform: (more: Matrix) => more };
    },
  }),
});
