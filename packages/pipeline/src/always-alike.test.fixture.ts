import { defineSimilarity, z } from "@layerfold/core";

/** A measure of one's own: whatever two layers are, as alike as it was told. */
export const alwaysAlike = (id: string) =>
  defineSimilarity({
    id,
    summary: "",
    optionsSchema: z.strictObject({ value: z.number().default(0.5) }),
    create: ({ value }) => ({
      traits: { symmetric: true, stochastic: false, range: [0, 1], invariantTo: [] },
      prepare: (layer) => layer,
      compare: () => value,
    }),
  });
