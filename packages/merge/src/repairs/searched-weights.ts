import { defineRepair, z } from "@layerfold/core";
import { normPolicy, tensorwise, weightedSum } from "../strategies/tensorwise.js";
import { fixedWeights } from "../strategies/weighted.js";
import { denseLayers, eachToken, frontToBack } from "./front-to-back.js";
import { fitOptions, tokenScales } from "./least-squares.js";

/**
 * Fills each group with the weighted mean of its layers whose share a, of θ ← a·θ_l + (1 − a)·θ from the last layer to the first, brings
 * the stream nearest to the dense one: the searched form of `weighted`. 1 is a drop, so the chosen mean is never further away than
 * keeping the first layer. The plan's weights are not looked at.
 *
 * Cost per group: one run of a block for every share.
 *
 * @throws LAYERS_INCOMPATIBLE, NORM_NOT_FOLDABLE, CALIBRATION_EMPTY
 */
export const searchedWeights = defineRepair({
  id: "searched-weights",
  summary: "weighted mean of each group's layers, the weight found on calibration text",
  optionsSchema: z.strictObject({
    ratios: z
      .array(z.number().min(0).max(1))
      .min(1)
      .default([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0])
      .describe("shares of the earlier layer to try"),
    tokenWeighting: fitOptions.tokenWeighting,
    norms: normPolicy,
  }),
  create: ({ ratios, tokenWeighting, norms }) => ({
    merges: true,
    fit: (model, plan, folded, calibration, ctx, finished) =>
      frontToBack(
        model,
        plan,
        calibration(),
        {
          needsUpdates: () => false,
          heldOutEvery: 0,
          folded,
          finished,
          async fill({ layers, anchor, batches }, block) {
            if (layers.length === 1) return block;
            const { layers: blocks } = await denseLayers(model, { layers, anchor });
            const merge = tensorwise(weightedSum, norms);
            let best = { block, error: Number.POSITIVE_INFINITY };
            for (const ratio of ratios) {
              const merged = await merge(blocks, fixedWeights(layers.length, ratio), ctx);
              const candidate = { ...merged, layer: anchor };
              let error = 0;
              for await (const { input, target } of batches()) {
                const { hidden } = await model.runBlock(anchor, input, { replace: candidate });
                const scales = tokenScales(target, tokenWeighting);
                const width = model.hiddenSize;
                eachToken(hidden, (start, token) => {
                  let square = 0;
                  for (let i = start; i < start + width; i++) {
                    square += (hidden.states.data[i] - target.states.data[i]) ** 2;
                  }
                  error += scales[token] ** 2 * square;
                });
              }
              if (error < best.error) best = { block: candidate, error };
            }
            return best.block;
          },
        },
        ctx,
      ),
  }),
});
