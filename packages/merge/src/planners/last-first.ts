import { definePlanner, z } from "@layerfold/core";
import { foldOptions, foldPairs } from "./fold-pairs.js";

/**
 * Folds the last two layers, again and again, so that the tail becomes one layer: the order of the MKA authors' code
 * (arXiv 2406.16330). Where the last two cannot stand for one another, the last pair that can.
 *
 * Needs `similarity`; see `bestAdjacentPair` for weights and refresh.
 */
export const lastFirst = definePlanner({
  id: "last-first",
  summary: "fold the last two layers, again and again (MKA as its code orders it)",
  optionsSchema: z.strictObject(foldOptions),
  create: (options) => ({
    needs: ["similarity"],
    plan: (evidence, targetLayerCount, ctx) =>
      foldPairs("last-first", evidence, targetLayerCount, options, (candidates) => candidates.at(-1)!, ctx),
  }),
});
