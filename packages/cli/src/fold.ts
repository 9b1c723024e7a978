import type { Checkpoint, TokenSequences } from "@layerfold/checkpoint";
import type { MergePlan, MergeStrategy, Repair } from "@layerfold/core";
import { openRunner } from "@layerfold/graph";
import { type FoldedCheckpoint, foldCheckpoint } from "@layerfold/merge";
import { calibrationBatches, tokensPerTappedBatch } from "./inputs.js";
import type { Run } from "./run.js";

/** What becomes of a plan. */
export interface Fold {
  readonly plan: MergePlan;
  readonly strategy: MergeStrategy;
  readonly repair?: Repair;
  /** Text for the repair. */
  readonly calibration?: TokenSequences;
  /** Folder to write. */
  readonly out: string;
  readonly force?: boolean;
  /** See `FoldRequest`. */
  readonly unfinished?: string;
}

/** `foldCheckpoint`, with the dense model open for as long as a repair needs it. */
export async function foldModel(
  checkpoint: Checkpoint,
  { plan, repair, calibration, ...request }: Fold,
  run: Pick<Run, "ctx">,
): Promise<FoldedCheckpoint> {
  const runner = repair && (await openRunner(checkpoint));
  try {
    const size = tokensPerTappedBatch(checkpoint.architecture);
    const batches = calibration && (() => calibrationBatches(calibration, size));
    return await foldCheckpoint(
      checkpoint,
      plan,
      { ...request, repair, runner, calibration: batches },
      run.ctx,
    );
  } finally {
    await runner?.close();
  }
}
