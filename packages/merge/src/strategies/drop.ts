import { defineStrategy, z } from "@layerfold/core";

/** Keeps the layer of largest weight as it is, the first of equals, and throws the others away: the control of every merge. */
export const drop = defineStrategy({
  id: "drop",
  summary: "keep one layer of each group, throw the others away",
  optionsSchema: z.strictObject({}),
  create: () => ({ merge: (blocks, weights) => blocks[weights.indexOf(Math.max(...weights))] }),
});
