import type { MergePlan, RunContext } from "@layerfold/core";
import { klToDense, rememberedLogits } from "@layerfold/evaluate";
import { openRunner, runnerModel } from "@layerfold/graph";
import { planStreams } from "@layerfold/merge";
import { sequenceBatches, tokensPerBatch } from "../inputs/open-model.js";
import { streamModel } from "./judged-text.js";
import { silenced } from "./plan-losses.js";
import type { Evaluator, TrialMaterial } from "./trial.js";

/** Logits of a batch, of each of two models. */
const divergenceValues = 2 ** 26;

/** KL(dense ‖ plan) of one plan after another, layers dropped or silenced. */
export async function openPlanDivergences(
  { checkpoint, place, text }: TrialMaterial,
  ctx: RunContext,
): Promise<Evaluator<MergePlan, number>> {
  const runner = await openRunner(checkpoint, place);
  const maxTokensPerBatch = Math.min(tokensPerBatch, Math.ceil(divergenceValues / runner.vocabularySize));
  const batches = sequenceBatches(text, maxTokensPerBatch);
  const streamsOf = planStreams(runner, batches, silenced(runner, ctx), ctx);
  const dense = rememberedLogits(runnerModel(runner), 2 ** 30);
  const head = streamModel(runner);
  return {
    async answer(plan) {
      head.feed(await streamsOf(plan));
      return (await klToDense(dense, head.model, text, { maxTokensPerBatch }, ctx)).klToDense;
    },
    close: () => runner.close(),
  };
}
