import type { TokenSequence } from "@layerfold/checkpoint";
import type { MergePlan, MergeStrategy, Repair } from "@layerfold/core";
import type { Json } from "@layerfold/tasks";
import { referenceOf } from "../plugin-reference.js";
import { runTask, type TaskRunner } from "../task-runner.js";
import { givenText } from "../tasks/given-text.js";
import { repairedLossTask } from "../tasks/repaired-loss.js";
import type { ModelInput } from "../tasks/stored-model.js";
import { type Calibration, calibrationPart, tokensOf } from "./read-calibration.js";

/** Every so many-th sequence is held out: it judges, and no trial is fitted to it. */
const heldOutEvery = 8;

export interface SizeOptions {
  /** The first trial's tokens; each next one has twice as many. Default 4,096. */
  readonly fewestTokens?: number;
  /** Nats per token that twice the tokens must win on held-out text, or it is enough. Default 0.01. */
  readonly margin?: number;
}

/** A calibration that is as large as it needs to be, and how that was found. */
export interface SizedCalibration {
  readonly calibration: Calibration;
  /** Loss on held-out windows after fold and repair, nats per token, by tokens fitted to. */
  readonly trials: readonly { readonly tokens: number; readonly loss: number }[];
}

/**
 * How much text a repair needs: it is fitted to 4,096 tokens, to 8,192, and so on, spread over the text, until twice the tokens win less
 * than 0.01 nats per token on windows that are held out, or the text ends. The best of the trials decides; its size then holds for the
 * whole text, held-out windows included. Costs about twice a fold with the largest size that was tried, and nothing is written.
 */
export async function sizedCalibration(
  model: ModelInput,
  fold: { readonly plan: MergePlan; readonly strategy: MergeStrategy; readonly repair: Repair },
  all: Calibration,
  { tasks, seed }: { readonly tasks: TaskRunner; readonly seed: number },
  { fewestTokens = 4096, margin = 0.01 }: SizeOptions = {},
): Promise<SizedCalibration> {
  const open = all.sequences.filter((_, i) => i % heldOutEvery !== 0);
  const heldOut = all.sequences.filter((_, i) => i % heldOutEvery === 0);
  const trials: { tokens: number; loss: number }[] = [];
  const openTokens = tokensOf(open);
  for (let size = fewestTokens; heldOut.length > 0 && open.length > 0; size *= 2) {
    const fitted = spread(open, size / openTokens);
    const loss = await runTask(
      tasks,
      repairedLossTask(
        {
          plan: fold.plan as unknown as Json,
          strategy: referenceOf(fold.strategy),
          repair: referenceOf(fold.repair),
          seed,
        },
        { model, fitted: givenText(fitted), judging: givenText(heldOut) },
      ),
    );
    trials.push({ tokens: tokensOf(fitted), loss });
    const won = (trials.at(-2)?.loss ?? Number.POSITIVE_INFINITY) - loss;
    if (!(won >= margin) || size >= openTokens) break;
  }
  const best = trials.reduce<(typeof trials)[number] | undefined>(
    (a, b) => (a && a.loss <= b.loss ? a : b),
    undefined,
  );
  const sequences = best ? spread(all.sequences, best.tokens / all.tokenCount) : all.sequences;
  return { calibration: calibrationPart(all, sequences), trials };
}

/** One line for people, e.g. `8192 calibration tokens: held-out loss 3.412 (4096), 3.318 (8192), 3.315 (16384).` */
export function describeTrials({ calibration, trials }: SizedCalibration): string {
  const losses = trials.map(({ tokens, loss }) => `${loss.toFixed(3)} (${tokens})`).join(", ");
  return `${calibration.tokenCount} calibration tokens: held-out loss after fold and repair, by tokens fitted to: ${losses}.`;
}

/** About that share of the sequences, evenly. */
function spread(sequences: readonly TokenSequence[], share: number): readonly TokenSequence[] {
  if (share >= 1) return sequences;
  return sequences.filter((_, i) => Math.floor((i + 1) * share) > Math.floor(i * share));
}
