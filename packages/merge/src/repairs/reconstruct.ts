import { defineRepair, type LayerFacts, z } from "@layerfold/core";
import { firstReason } from "./block-linear.js";
import { groupByGroup } from "./front-to-back.js";
import { type InputMapOptions, inputMapOptions, mapsNeuronInputs, withInputMaps } from "./input-maps.js";
import { fitOptions } from "./least-squares.js";
import { whyDownStays, whyNeuronsStay } from "./neurons.js";
import { type RefineOptions, refineNeurons, refineOptions } from "./refine-neurons.js";
import { refitDown } from "./refit-down.js";

/**
 * Refits the down projection of every kept block, from the front, on the folded model's own activations: a block that stands for the
 * layers l … e − 1 is fitted to the dense stream behind layer e − 1, so it does the work of the layers that went, and takes up the drift
 * of the blocks before it. Ridge least squares towards the old weights, in float64; see `refitDown` for the formula. Ours; its nearest
 * relative is ReplaceMe (arXiv 2505.02819), which fits one block only and on the dense model's activations. With `refineEpochs` the gate
 * and up projections of blocks that stand for several layers learn too, see `refineNeurons`; with `inputMapRidge` attention and MLP first have
 * their inputs mapped, see `withInputMaps`.
 *
 * Cost per block: two runs of it and one of the layers it stands for, tokens · width² for the Gram and width³ for the solution, width
 * being the MLP's. Memory: a few blocks and width² float64 values, whatever the number of tokens.
 *
 * @throws REPAIR_UNSUPPORTED for experts and for families that normalise the MLP's output; CALIBRATION_EMPTY;
 * MATRIX_NOT_POSITIVE_DEFINITE when activations are so nearly dependent that the ridge cannot help
 */
export const reconstruct = defineRepair({
  id: "reconstruct",
  summary: "refit every kept block's down projection to the dense stream, front to back",
  optionsSchema: z.strictObject({ ...fitOptions, ...inputMapOptions, ...refineOptions }),
  create: (options) => ({
    refuses: (layers) => whyRefitStays(layers, options),
    fit: groupByGroup(
      options,
      async (model, group, block, fit, ctx) => {
        const reading = await withInputMaps(model, group, block, fit, ctx);
        const refitted = await refitDown(model, group, reading, fit, ctx);
        return refineNeurons(model, group, refitted, fit, ctx);
      },
      options.ridge.length > 1 || options.refineEpochs > 0,
    ),
  }),
});

/** Why `reconstruct` cannot refit the block of these layers; undefined where it can. */
export function whyRefitStays(
  layers: readonly LayerFacts[],
  options: InputMapOptions & Pick<RefineOptions, "refineEpochs">,
): string | undefined {
  return firstReason(layers, (layer) =>
    (layers.length > 1 && options.refineEpochs > 0) || mapsNeuronInputs(layer, options)
      ? whyNeuronsStay(layer)
      : whyDownStays(layer.spec),
  );
}
