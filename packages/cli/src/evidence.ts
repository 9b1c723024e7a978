import { captureActivations, checkpointSource, type Pooling, runnerSource } from "@layerfold/capture";
import type { Checkpoint, TokenSequences } from "@layerfold/checkpoint";
import {
  type Activations,
  type Evidence,
  LayerfoldError,
  type Matrix,
  type MergePlan,
  type Planner,
} from "@layerfold/core";
import { perplexity } from "@layerfold/evaluate";
import { openRunner, runnerLanguageModel } from "@layerfold/graph";
import { compatibleLayers, foldedBlocks, foldedRunner, weighted } from "@layerfold/merge";
import { calibrationBatches } from "./inputs.js";
import type { Run } from "./run.js";
import type { Comparison } from "./similarity.js";

/** Where a planner's evidence may come from; what is absent is made from the calibration text when the planner asks for it. */
export interface EvidenceSources {
  readonly checkpoint: Checkpoint;
  readonly comparison: Comparison;
  readonly similarity?: Matrix;
  readonly activations?: Activations;
  readonly calibration?: TokenSequences;
  readonly pooling: Pooling;
}

/** Captures a calibration text through a checkpoint. */
export async function captureCheckpoint(
  checkpoint: Checkpoint,
  calibration: TokenSequences,
  pooling: Pooling,
  run: Run,
): Promise<Activations> {
  const source = checkpointSource(checkpoint);
  try {
    return await captureActivations(source, calibrationBatches(calibration), { pooling }, run.ctx);
  } finally {
    await source.close();
  }
}

/**
 * The evidence that a planner needs, and nothing more.
 * @throws EVIDENCE_MISSING when it can be had neither from what is given nor from a calibration text
 */
export async function gatherEvidence(
  planner: Planner,
  sources: EvidenceSources,
  run: Run,
): Promise<Evidence> {
  const { checkpoint, comparison, calibration, pooling } = sources;
  const { architecture } = checkpoint;
  let { activations, similarity } = sources;
  const capture = async () => {
    activations ??= calibration && (await captureCheckpoint(checkpoint, calibration, pooling, run));
    if (activations) return activations;
    throw new LayerfoldError("EVIDENCE_MISSING", `the planner ${planner.id} must see what the layers do`, {
      wanted: "a calibration text (--calibration), a capture (--capture) or, for some planners, --similarity",
    });
  };
  if (planner.needs.includes("similarity")) {
    similarity ??= await comparison.compare((await capture()).layers, run.ctx);
  }
  const tokenStatistics = planner.needs.includes("tokenStatistics")
    ? (await capture()).statistics
    : activations?.statistics;
  return {
    layerCount: architecture.blocks.length,
    similarity,
    tokenStatistics,
    compatible: (a, b) => compatibleLayers(architecture, a, b),
    ...(calibration && {
      evaluate: (plan) =>
        withFoldedRunner(checkpoint, plan, run, async (folded) => {
          const model = runnerLanguageModel(folded);
          const quiet = { ...run.ctx, report: undefined };
          return Math.log((await perplexity(model, calibration.sequences, {}, quiet)).perplexity);
        }),
      remeasure: remembered((plan) =>
        withFoldedRunner(checkpoint, plan, run, async (folded) => {
          const quiet = { ...run.ctx, report: undefined };
          const again = await captureActivations(
            runnerSource(folded),
            calibrationBatches(calibration),
            { pooling },
            quiet,
          );
          return comparison.compare(again.layers, quiet);
        }),
      ),
    }),
  };
}

/** A greedy planner that is asked for 12 layers and then for 10 walks the same way twice. */
function remembered<T>(measure: (plan: MergePlan) => Promise<T>): (plan: MergePlan) => Promise<T> {
  const known = new Map<string, Promise<T>>();
  return (plan) => {
    const key = JSON.stringify(plan.groups);
    const value = known.get(key) ?? measure(plan);
    known.set(key, value);
    return value;
  };
}

async function withFoldedRunner<T>(
  checkpoint: Checkpoint,
  plan: MergePlan,
  run: Run,
  use: (folded: ReturnType<typeof foldedRunner>) => Promise<T>,
): Promise<T> {
  const runner = await openRunner(checkpoint);
  const folded = foldedRunner(runner, plan, foldedBlocks(checkpoint, plan, weighted(), run.ctx));
  try {
    return await use(folded);
  } finally {
    await folded.close();
  }
}
