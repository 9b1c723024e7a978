import { defineRepair, z } from "@layerfold/core";
import { fitDiagonalMap } from "./diagonal-map.js";
import { groupByGroup } from "./front-to-back.js";
import { hadamard } from "./hadamard.js";
import { fitOptions } from "./least-squares.js";
import { whyMergedMlpStays } from "./neurons.js";

/**
 * LinearPatch's patch H·diag(d)·Hᵀ (arXiv 2505.24680): channels are scaled after a Hadamard rotation, which spreads the few tokens
 * that carry nearly all of the stream over every channel. The paper puts the patch on the stream as a matrix of its own; here it acts on
 * what the MLP before the removed layers adds, the one place where such a map lives in weights that exist, and d is the least-squares
 * fit to the dense stream behind the group where the paper has a ratio of means.
 *
 * Cost per group: two runs of its block, and tokens · hidden² for the rotation.
 *
 * @throws HADAMARD_SIZE; REPAIR_UNSUPPORTED for experts and for families that normalise the MLP's output; CALIBRATION_EMPTY
 */
export const hadamardScale = defineRepair({
  id: "hadamard-scale",
  summary: "scale the MLP update before the removed layers after a Hadamard rotation (LinearPatch)",
  optionsSchema: z.strictObject(fitOptions),
  create: (options) => ({
    refuses: whyMergedMlpStays,
    fit: groupByGroup(options, (model, group, block, fit, ctx) =>
      fitDiagonalMap(model, group, block, hadamard, fit, ctx),
    ),
  }),
});
