import { defineRepair, z } from "@layerfold/core";
import { fitDiagonalMap } from "./diagonal-map.js";
import { groupByGroup } from "./front-to-back.js";
import { fitOptions } from "./least-squares.js";
import { whyMergedMlpStays } from "./neurons.js";

/**
 * One factor per channel on what the MLP before the removed layers adds to the stream, by least squares to the dense stream behind them:
 * d_k = (Σ m_k r_k + λ) / (Σ m_k² + λ). It is `linear` with a diagonal map, and like it lives in the down projection. Published scalings
 * (Prune&Comp, arXiv 2507.18212; LinearPatch, arXiv 2505.24680) multiply the stream itself; a factor that differs between channels cannot
 * be moved past the norms that read the stream, and no config holds it as a matrix of its own.
 *
 * Cost per group: two runs of its block.
 *
 * @throws REPAIR_UNSUPPORTED for experts and for families that normalise the MLP's output; CALIBRATION_EMPTY
 */
export const channelScale = defineRepair({
  id: "channel-scale",
  summary: "scale the channels of the MLP update before the removed layers",
  optionsSchema: z.strictObject(fitOptions),
  create: (options) => ({
    refuses: whyMergedMlpStays,
    fit: groupByGroup(options, (model, group, block, fit, ctx) =>
      fitDiagonalMap(model, group, block, undefined, fit, ctx),
    ),
  }),
});
