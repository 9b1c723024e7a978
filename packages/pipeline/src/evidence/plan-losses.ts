import type { MergePlan, ModelRunner, PlanGroup, RunContext } from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { drop, foldGroup, planStreams } from "@layerfold/merge";
import { type BesideText, judgedText, streamLoss } from "./judged-text.js";
import type { Evaluator, TrialMaterial } from "./trial.js";

/** The calibration loss of one plan after another, layers dropped or silenced. What two plans begin with alike is run once. */
export async function openPlanLosses(
  { checkpoint, place, text }: TrialMaterial,
  beside: BesideText,
  ctx: RunContext,
): Promise<Evaluator<MergePlan, number>> {
  const runner = await openRunner(checkpoint, place);
  const judged = judgedText(text, beside);
  const streamsOf = planStreams(runner, judged.batches, silenced(runner, ctx), ctx);
  const lossOf = streamLoss(runner, judged);
  return {
    answer: async (plan) => lossOf(await streamsOf(plan)),
    close: () => runner.close(),
  };
}

/** Blocks of groups that are no plain drop, in plans of which nothing is merged: those whose halves fall silent. */
export function silenced(runner: ModelRunner, ctx: RunContext) {
  return (group: PlanGroup) => foldGroup(group, drop(), ctx, runner);
}
