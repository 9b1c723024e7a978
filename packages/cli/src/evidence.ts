import { captureActivations, checkpointSource, type Pooling, runnerSource } from "@layerfold/capture";
import { batchBySize, type Checkpoint, type TokenSequence, type TokenSequences } from "@layerfold/checkpoint";
import {
  type Activations,
  type Evidence,
  type Hidden,
  LayerfoldError,
  type Matrix,
  type MergePlan,
  type Planner,
} from "@layerfold/core";
import { perplexity } from "@layerfold/evaluate";
import { openRunner, runnerLanguageModel } from "@layerfold/graph";
import { compatibleLayers, foldedBlocks, foldedRunner, planStreams, weighted } from "@layerfold/merge";
import { calibrationBatches, tokensPerBatch } from "./inputs.js";
import type { Run } from "./run.js";
import type { Comparison } from "./similarity.js";

/** Where a planner's evidence may come from; what is absent is made from the calibration text when the planner asks for it. */
export interface EvidenceSources {
  readonly checkpoint: Checkpoint;
  readonly comparison: Comparison;
  readonly similarity?: Matrix;
  readonly activations?: Activations;
  readonly calibration?: TokenSequences;
  /** What a plan's loss weighs beside the text. */
  readonly answers?: WeighedAnswers;
  readonly pooling: Pooling;
}

/** Answered questions, and what their loss weighs beside the text's. */
export interface WeighedAnswers {
  /** Their answers are the only targets. */
  readonly sequences: readonly TokenSequence[];
  readonly weight: number;
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
): Promise<{ evidence: Evidence; close(): Promise<void> }> {
  const { checkpoint, comparison, calibration, answers, pooling } = sources;
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
  const losses =
    calibration && planner.needs.includes("evaluate")
      ? await planLosses(checkpoint, calibration, answers, run)
      : undefined;
  const evidence: Evidence = {
    layerCount: architecture.blocks.length,
    similarity,
    tokenStatistics,
    compatible: (a, b) => compatibleLayers(architecture, a, b),
    evaluate: losses && remembered(losses.lossOf),
    ...(calibration && {
      remeasure: remembered((plan) => remeasured(checkpoint, plan, calibration, pooling, comparison, run)),
    }),
  };
  return { evidence, close: async () => losses?.close() };
}

/** Planners try hundreds of plans; what they tell apart shows on this many tokens. */
const planningTokens = 16_384;

/**
 * The calibration loss of one plan after another: mean nats per token of the text, plus weight × mean nats per answer where there are
 * questions. What two plans begin with alike is run once.
 */
async function planLosses(
  checkpoint: Checkpoint,
  calibration: TokenSequences,
  answers: WeighedAnswers | undefined,
  run: Run,
) {
  const runner = await openRunner(checkpoint);
  const share = Math.max(1, calibration.tokenCount / planningTokens);
  const chosen = calibration.sequences.filter(
    (_, i) => Math.floor(i / share) !== Math.floor((i - 1) / share),
  );
  const judged = [{ sequences: chosen, weight: 1 }, ...(answers ? [answers] : [])];
  const batches = judged.flatMap(({ sequences }) =>
    batchBySize(
      sequences.map(({ ids }) => ids),
      tokensPerBatch,
    ),
  );
  const streamsOf = planStreams(
    runner,
    batches.map(({ batch }) => batch),
    undefined,
    run.ctx,
  );
  let streams: Iterator<Hidden> = [].values();
  // What is left of the model once its blocks have run; perplexity asks for the same batches in the same order.
  const head = runnerLanguageModel({
    ...runner,
    layerCount: 0,
    embed: async () => streams.next().value,
  });
  const quiet = { ...run.ctx, report: undefined };
  return {
    async lossOf(plan: MergePlan): Promise<number> {
      streams = (await streamsOf(plan)).values();
      let loss = 0;
      for (const { sequences, weight } of judged) {
        const found = await perplexity(head, sequences, { maxTokensPerBatch: tokensPerBatch }, quiet);
        loss += (weight * found.negativeLogLikelihood) / found.tokens;
      }
      return loss;
    },
    async close() {
      await head.close();
      await runner.close();
    },
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

/** The similarity matrix of the folded model's own layers, run in memory. */
async function remeasured(
  checkpoint: Checkpoint,
  plan: MergePlan,
  calibration: TokenSequences,
  pooling: Pooling,
  comparison: Comparison,
  run: Run,
): Promise<Matrix> {
  const quiet = { ...run.ctx, report: undefined };
  const runner = await openRunner(checkpoint);
  const folded = foldedRunner(runner, plan, foldedBlocks(checkpoint, plan, weighted(), quiet));
  try {
    const { layers } = await captureActivations(
      runnerSource(folded),
      calibrationBatches(calibration),
      { pooling },
      quiet,
    );
    return await comparison.compare(layers, quiet);
  } finally {
    await folded.close();
  }
}
