import type { TokenSequence } from "@layerfold/checkpoint";
import type { BlockView, Hidden, MergeStrategy, Repair, RunContext, TokenBatch } from "@layerfold/core";
import { sequenceBatches, tokensPerTappedBatch } from "../inputs/open-model.js";
import { type BesideText, judgedText, streamLoss } from "./judged-text.js";
import { openTrialRunner } from "./open-trial-runner.js";
import type { TrialMaterial } from "./trial.js";

/** How folds are tried. */
export interface FoldTrial {
  readonly beside?: BesideText;
  readonly strategy: MergeStrategy;
  readonly repair: Repair;
}

/** Of a text, every so many-th sequence judges and is not fitted to. */
const judgingEvery = 4;

/** A text's sequences that a repair is fitted to, and those that judge it. */
export interface TrialText {
  readonly fitted: readonly TokenSequence[];
  readonly judging: readonly TokenSequence[];
}

export function fittedAndJudging(text: readonly TokenSequence[]): TrialText {
  return {
    fitted: text.filter((_, i) => i % judgingEvery !== 0),
    judging: text.filter((_, i) => i % judgingEvery === 0),
  };
}

/** The dense model, and the batches that folds of it are fitted to and judged by. */
export async function openFoldTrial(
  material: Pick<TrialMaterial, "checkpoint" | "place">,
  { fitted, judging }: TrialText,
  beside: BesideText | undefined,
  ctx: Pick<RunContext, "memory">,
) {
  const { architecture } = material.checkpoint;
  const runner = await openTrialRunner(material, ctx);
  const fitting = sequenceBatches(fitted, tokensPerTappedBatch(architecture));
  const judged = judgedText(judging, beside);
  return {
    runner,
    fitting,
    batches: judged.batches,
    lossOf: streamLoss(runner, judged),
    async embedded(of: readonly TokenBatch[]): Promise<readonly Hidden[]> {
      const streams: Hidden[] = [];
      for (const batch of of) streams.push(await runner.embed(batch));
      return streams;
    },
    /** The streams behind one block. */
    async behind(layer: number, streams: readonly Hidden[], replace?: BlockView): Promise<readonly Hidden[]> {
      const moved: Hidden[] = [];
      for (const hidden of streams) moved.push((await runner.runBlock(layer, hidden, { replace })).hidden);
      return moved;
    },
    close: () => runner.close(),
  };
}

export async function* each<T>(values: Iterable<T>): AsyncGenerator<T> {
  yield* values;
}
