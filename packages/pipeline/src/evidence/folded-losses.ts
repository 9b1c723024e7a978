import { dropPlan, type Hidden, type RunContext, type TokenBatch } from "@layerfold/core";
import { foldedBlocks } from "@layerfold/merge";
import { each, type FoldTrial, fittedAndJudging, openFoldTrial } from "./open-fold-trial.js";
import type { Evaluator, TrialMaterial } from "./trial.js";

/**
 * The loss with one group folded and repaired in the dense model, on text that the repair did not see. The dense streams before the last
 * group are kept, so that from the front to the back each layer runs once on the text that is fitted.
 */
export async function openFoldedLosses(
  material: TrialMaterial,
  { beside, strategy, repair }: FoldTrial,
  ctx: RunContext,
): Promise<Evaluator<readonly number[], number>> {
  const { runner, fitting, batches, embedded, behind, lossOf, close } = await openFoldTrial(
    material,
    fittedAndJudging(material.text),
    beside,
    ctx,
  );
  const { layerCount } = runner;
  const advance = async (streams: readonly Hidden[], from: number, to: number) => {
    let moved = streams;
    for (let layer = from; layer < to; layer++) moved = await behind(layer, moved);
    return moved;
  };
  let reached: { layer: number; fitting: readonly Hidden[]; judging: readonly Hidden[] } | undefined;
  const streamsBefore = async (layer: number) => {
    const last =
      reached && reached.layer <= layer
        ? reached
        : { layer: 0, fitting: await embedded(fitting), judging: await embedded(batches) };
    reached = {
      layer,
      fitting: await advance(last.fitting, last.layer, layer),
      judging: await advance(last.judging, last.layer, layer),
    };
    return reached;
  };
  return {
    async answer(layers) {
      if (layers.length === 0) return lossOf(await advance(await embedded(batches), 0, layerCount));
      const [first] = layers;
      const end = first + layers.length;
      const streams = await streamsBefore(first);
      const kept = Array.from({ length: layerCount }, (_, l) => l).filter((l) => l <= first || l >= end);
      const plan = dropPlan(layerCount, kept);
      const blocks = foldedBlocks(material.checkpoint, plan, strategy, ctx);
      // By batch, since a repair may look at some of them before it looks at all.
      const before = new Map(fitting.map((batch, i) => [batch, streams.fitting[i]]));
      const model = { ...runner, embed: async (batch: TokenBatch) => before.get(batch)! };
      const part = { ...plan, groups: [plan.groups[first]] };
      let judging = streams.judging;
      for await (const { block } of repair.fit(
        model,
        part,
        () => blocks(first),
        () => each(fitting),
        ctx,
      )) {
        judging = await behind(first, judging, block);
      }
      return lossOf(await advance(judging, end, layerCount));
    },
    close,
  };
}
