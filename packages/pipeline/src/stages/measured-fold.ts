import { withContent } from "@layerfold/tasks";
import { placedDigest } from "../place.js";
import { runTask, type TaskRunner } from "../task-runner.js";
import { type FoldFacts, foldFactsTask } from "../tasks/fold-facts.js";
import type { ModelInput } from "../tasks/stored-model.js";
import { measureModel, type Quality } from "./measure.js";
import { type Fold, foldOf, type Workbench } from "./workbench.js";

/** A fold and how well it does. */
export interface MeasuredFold {
  readonly facts: FoldFacts;
  readonly quality: Quality;
}

/** Folds that are being measured, by digest: how many ask for each. */
const asked = new WeakMap<TaskRunner, Map<string, number>>();

/**
 * Folds and measures. Folds that come to the same weights are measured once, and what was measured before is not folded again.
 * @param keep - the folded checkpoint stays in the store; else it goes once nobody measures it any more, unless another was to keep it
 * @param dense - that the divergence is measured from; null: from none
 */
export async function measuredFold(
  bench: Workbench,
  fold: Fold,
  keep: boolean,
  dense: ModelInput | null = bench.model,
): Promise<MeasuredFold> {
  const { tasks, evaluationSet, run } = bench;
  const folded = foldOf(bench, fold);
  const counts = asked.get(tasks) ?? new Map<string, number>();
  asked.set(tasks, counts);
  counts.set(folded.digest, (counts.get(folded.digest) ?? 0) + 1);
  // Another that comes to the same fold may not need it: this one does.
  if (keep) tasks.keep(folded);
  try {
    const facts = await runTask(tasks, foldFactsTask({}, { fold: folded }));
    const quality = await measureModel(
      withContent(folded, placedDigest(facts.fingerprint, bench.run.place)),
      evaluationSet,
      dense ?? undefined,
      tasks,
      run.execution,
    );
    return { facts, quality };
  } finally {
    const left = counts.get(folded.digest)! - 1;
    counts.set(folded.digest, left);
    if (left === 0) await tasks.remove(folded);
  }
}
