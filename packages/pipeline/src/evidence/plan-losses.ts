import type { MergePlan, ModelRunner, PlanGroup, RunContext } from "@layerfold/core";
import { drop, foldGroup, planStreams } from "@layerfold/merge";
import { type BesideText, judgedText, streamLoss } from "./judged-text.js";
import { openTrialRunner } from "./open-trial-runner.js";
import type { Evaluator, TrialMaterial } from "./trial.js";

/** The calibration loss of one plan after another, layers dropped or silenced. What two plans begin with alike is run once. */
export async function openPlanLosses(
  material: TrialMaterial,
  beside: BesideText,
  ctx: RunContext,
): Promise<Evaluator<MergePlan, number>> {
  const runner = await openTrialRunner(material, ctx);
  const judged = judgedText(material.text, beside);
  const streams = planStreams(runner, judged.batches, silenced(runner, ctx), ctx);
  const lossOf = streamLoss(runner, judged);
  return {
    async answer(plan) {
      await streams.run(plan);
      return lossOf(streams.behind(plan.groups.length - 1));
    },
    async close() {
      await streams.close();
      await runner.close();
    },
  };
}

/** Blocks of groups that are no plain drop, in plans of which nothing is merged: those whose halves fall silent. */
export function silenced(runner: ModelRunner, ctx: RunContext) {
  return (group: PlanGroup) => foldGroup(group, drop(), ctx, runner);
}
