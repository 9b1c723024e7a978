import type { MergePlan, RunContext } from "@layerfold/core";
import { foldedBlocks } from "@layerfold/merge";
import { each, type FoldTrial, fittedAndJudging, openFoldTrial } from "./open-fold-trial.js";
import type { Evaluator, TrialMaterial } from "./trial.js";

/** The loss after fold and repair, on text that the repair did not see. The folded blocks are run as they come and let go. */
export async function openRepairedLosses(
  material: TrialMaterial,
  { beside, strategy, repair }: FoldTrial,
  ctx: RunContext,
  parts = fittedAndJudging(material.text),
): Promise<Evaluator<MergePlan, number>> {
  const { runner, fitting, batches, embedded, behind, lossOf, close } = await openFoldTrial(
    material,
    parts,
    beside,
    ctx,
  );
  return {
    async answer(plan) {
      const blocks = foldedBlocks(material.checkpoint, plan, strategy, ctx);
      let streams = await embedded(batches);
      for await (const { block } of repair.fit(runner, plan, blocks, () => each(fitting), ctx)) {
        streams = await behind(block.layer, streams, block);
      }
      return lossOf(streams);
    },
    close,
  };
}
