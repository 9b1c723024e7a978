import {
  type BlockView,
  contiguousData,
  defineWeightTransform,
  LayerfoldError,
  type Tensor,
  z,
} from "@layerfold/core";
import { rescaled, type ScaleGroup, scaleGroups } from "./scale-group.js";

/**
 * SmoothQuant (Xiao et al., arXiv 2211.10438, eq. 4): moves the activations' outliers into the weights,
 * s_j = max|X_j|^strength / max|W_·j|^(1 − strength), ≥ 1e-5. Norm gains are divided by s, the projections that read them multiplied;
 * the output and down projections are not smoothed.
 *
 * Needs `absoluteMaximum` of the inputs of attention and MLP.
 *
 * @throws STATISTICS_MISSING
 */
export const smoothquant = defineWeightTransform({
  id: "smoothquant",
  summary: "moves activation outliers into the weights",
  optionsSchema: z.strictObject({
    /** The paper's α: 0 leaves all difficulty with the activations, 1 moves all of it to the weights. */
    strength: z.number().min(0).max(1).default(0.5),
  }),
  create: ({ strength }) => ({
    fit(block, statistics) {
      let smoothed = block;
      for (const group of scaleGroups(block)) {
        if (!group.throughNorm) continue;
        const activation = statistics.get(group.consumers[0])?.absoluteMaximum;
        if (!activation) {
          throw new LayerfoldError("STATISTICS_MISSING", "smoothquant needs the largest activations", {
            where: `layer ${block.layer}, ${group.consumers[0]}`,
          });
        }
        const weight = largestByColumn(smoothed, group);
        const scales = activation.map((x, j) => {
          // A channel that is dead on either side has nothing to balance.
          if (x === 0 || weight[j] === 0) return 1;
          return Math.max(x ** strength / weight[j] ** (1 - strength), 1e-5);
        });
        smoothed = rescaled(smoothed, group, scales);
      }
      return smoothed;
    },
  }),
});

/** max|W_·j| over all rows of all consumers. */
function largestByColumn(block: BlockView, group: ScaleGroup): Float64Array {
  const largest = new Float64Array(group.width);
  for (const role of group.consumers) {
    const values = contiguousData(block.tensors.get(role) as Tensor);
    for (let i = 0; i < values.length; ) {
      for (let j = 0; j < group.width; j++, i++) largest[j] = Math.max(largest[j], Math.abs(values[i]));
    }
  }
  return largest;
}
