import { defineSimilarity, type Matrix, z } from "@layerfold/core";
import { checkPaired } from "./same-shape.js";

const optionsSchema = z.strictObject({});

/** Uniform random numbers in [0, 1) from `ctx.rng`, 1 on the diagonal: the control that a measure has to beat. */
export const random = defineSimilarity<Matrix, typeof optionsSchema>({
  id: "random",
  summary: "uniform random numbers (control)",
  optionsSchema,
  create: () => ({
    traits: { symmetric: true, stochastic: true, range: [0, 1], invariantTo: [] },
    prepare: (layer) => layer,
    compare(a, b, ctx) {
      checkPaired(a, b);
      return a === b ? 1 : ctx.rng.uniform();
    },
  }),
});
