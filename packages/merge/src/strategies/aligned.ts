import { type BlockView, defineStrategy, z } from "@layerfold/core";
import { alignBlock } from "./align-block.js";
import { foldNorms } from "./fold-norms.js";
import { checkSameTensors, normPolicy, tensorwise, weightedSum } from "./tensorwise.js";
import { checkWeights } from "./weighted.js";

/**
 * The weighted mean of `weighted`, taken after each later layer's neurons and heads were put in the order in which they are most like the
 * first layer's (Git Re-Basin, arXiv 2209.04836, weight matching). The order alone changes no layer's function; experts keep their
 * numbers, and state space layers their channels.
 *
 * @throws WEIGHTS_SUM; LAYERS_INCOMPATIBLE; NORM_NOT_FOLDABLE; BLOCK_SPEC_MISSING
 */
export const aligned = defineStrategy({
  id: "aligned",
  summary: "weighted mean after neurons and heads were matched to the first layer's (Git Re-Basin)",
  optionsSchema: z.strictObject({ norms: normPolicy }),
  create: ({ norms }) => {
    const mean = tensorwise(weightedSum, norms === "keep" ? "keep" : "average");
    return {
      async merge(given, weights, ctx) {
        checkWeights(weights);
        checkSameTensors(given);
        const [first, ...later] = norms === "fold" ? given.map(foldNorms) : given;
        const blocks: BlockView[] = [first];
        for (const block of later) blocks.push(await alignBlock(first, block, ctx));
        return mean(blocks, weights, ctx);
      },
    };
  },
});
