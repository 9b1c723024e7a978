import { defineSimilarity, z } from "@layerfold/core";
import { meanOverCosines, type NormedRows, normedRows } from "./row-cosines.js";

const optionsSchema = z.strictObject({});

/**
 * 1 − BI, BI = 1 − E_i cos(x_i, y_i) being the block influence of the layers between x and y (ShortGPT, arXiv 2403.03853, eq. 1); so a
 * higher value means that less happens there. In [−1, 1], and equal to the mean cosine. Its native form is `blockSimilarity`, which
 * compares the stream before a block with the stream after it.
 *
 * @throws ROW_ZERO, FEATURE_COUNT_MISMATCH. O(samples · features) per pair.
 */
export const blockInfluence = defineSimilarity<NormedRows, typeof optionsSchema>({
  id: "block-influence",
  summary: "1 − block influence (ShortGPT) of the layers between",
  optionsSchema,
  create: () => ({
    traits: { symmetric: true, stochastic: false, range: [-1, 1], invariantTo: ["isotropic-scale"] },
    prepare: normedRows,
    compare: (a, b) => meanOverCosines(a, b, (value) => value),
  }),
});
