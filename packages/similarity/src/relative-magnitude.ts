import { contiguousData, defineSimilarity, LayerfoldError, type Matrix, z } from "@layerfold/core";
import { sameShape } from "./same-shape.js";

const optionsSchema = z.strictObject({});

/**
 * One less the relative magnitude of what is added to the stream between two layers: 1 − (1/n) Σ_i ‖f(x_i)‖ / ‖x_i + f(x_i)‖, with x the first
 * layer and x + f(x) the second (Samragh et al. 2023, arXiv 2312.09299; as ShortGPT uses it). At most 1, not symmetric; negative
 * where more is added than comes out.
 *
 * @throws ROW_ZERO when a row of the second layer is zero, FEATURE_COUNT_MISMATCH, SAMPLE_COUNT_MISMATCH. O(samples · features) per pair.
 */
export const relativeMagnitude = defineSimilarity<Matrix, typeof optionsSchema>({
  id: "relative-magnitude",
  summary: "1 − relative magnitude of what is added between two layers",
  optionsSchema,
  create: () => ({
    traits: { symmetric: false, stochastic: false, range: [Number.NEGATIVE_INFINITY, 1], invariantTo: [] },
    prepare: (layer) => layer,
    compare(a, b) {
      const { rows, columns } = sameShape(a, b);
      const before = contiguousData(a);
      const after = contiguousData(b);
      let total = 0;
      for (let i = 0, at = 0; i < rows; i++) {
        let added = 0;
        let whole = 0;
        for (let j = 0; j < columns; j++, at++) {
          added += (after[at] - before[at]) ** 2;
          whole += after[at] ** 2;
        }
        if (whole === 0) {
          throw new LayerfoldError("ROW_ZERO", "a row of zeros has no relative magnitude", {
            where: `row ${i}`,
          });
        }
        total += Math.sqrt(added / whole);
      }
      return 1 - total / rows;
    },
  }),
});
