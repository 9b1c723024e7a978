import { defineStrategy, z } from "@layerfold/core";
import { linearly, normPolicy, onlyBlock, tensorwise } from "./tensorwise.js";

/**
 * θ_l + Σ_k (θ_{l+k} − θ_l): the reserving-differences-while-seeking-common merge of LaCo (arXiv 2402.11187, eq. 2). The released code
 * adds θ_{l+k} − θ_{l+k−1} instead, which telescopes to the last layer's weights; `telescoping` does that. Weights are not looked at.
 *
 * @throws LAYERS_INCOMPATIBLE
 */
export const differenceSum = defineStrategy({
  id: "difference-sum",
  summary: "the first layer plus all later layers' differences from it (LaCo)",
  optionsSchema: z.strictObject({
    reading: z
      .enum(["paper", "telescoping"])
      .default("paper")
      .describe(
        "differences from the first layer, or, as the released code has it, from the layer before: the last layer's weights",
      ),
    norms: normPolicy,
  }),
  create: ({ reading, norms }) => ({
    tensorwise: norms !== "fold",
    merge: tensorwise((values) => {
      const [first, ...later] = values;
      if (reading === "telescoping") return values[values.length - 1];
      return first.map((x, i) => later.reduce((sum, value) => sum + (value[i] - x), x));
    }, norms),
    coefficients:
      reading === "telescoping" ? linearly(({ length }) => onlyBlock(length - 1, length), norms) : undefined,
  }),
});
