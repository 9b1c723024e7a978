import type { MergePlan, RunContext } from "@layerfold/core";
import { klToDense, rememberedLogits } from "@layerfold/evaluate";
import { runnerModel } from "@layerfold/graph";
import { planStreams } from "@layerfold/merge";
import { sequenceBatches, tokensPerBatch } from "../inputs/open-model.js";
import { streamModel } from "./judged-text.js";
import { openTrialRunner } from "./open-trial-runner.js";
import { silenced } from "./plan-losses.js";
import type { Evaluator, TrialMaterial } from "./trial.js";

/** Logits of a batch, of each of two models. */
const divergenceValues = 2 ** 26;

/** KL(dense ‖ plan) of one plan after another, layers dropped or silenced. */
export async function openPlanDivergences(
  material: TrialMaterial,
  ctx: RunContext,
): Promise<Evaluator<MergePlan, number>> {
  const { text } = material;
  const runner = await openTrialRunner(material, ctx);
  const maxTokensPerBatch = Math.min(tokensPerBatch, Math.ceil(divergenceValues / runner.vocabularySize));
  const batches = sequenceBatches(text, maxTokensPerBatch);
  const streams = planStreams(runner, batches, silenced(runner, ctx), ctx);
  const dense = rememberedLogits(runnerModel(runner), 2 ** 30);
  const head = streamModel(runner);
  return {
    async answer(plan) {
      await streams.run(plan);
      head.feed(streams.behind(plan.groups.length - 1));
      return (await klToDense(dense, head.model, text, { maxTokensPerBatch }, ctx)).klToDense;
    },
    async close() {
      await streams.close();
      await runner.close();
    },
  };
}
