import { captureActivations, checkpointSource, type Pooling, runnerSource } from "@layerfold/capture";
import { batchBySize, type Checkpoint, type TokenSequence, type TokenSequences } from "@layerfold/checkpoint";
import {
  type Activations,
  type BlockView,
  dropPlan,
  type Evidence,
  type Hidden,
  LayerfoldError,
  type Matrix,
  type MergePlan,
  type MergeStrategy,
  type ModelRunner,
  type PlanGroup,
  type Planner,
  type Repair,
  type RunContext,
  type TokenBatch,
  throwIfAborted,
} from "@layerfold/core";
import { countTargets, klToDense, rememberedLogits } from "@layerfold/evaluate";
import { openRunner, runnerLanguageModel } from "@layerfold/graph";
import {
  compatibleLayers,
  drop,
  eachToken,
  foldedBlocks,
  foldedRunner,
  foldGroup,
  layerFacts,
  planStreams,
  recalledTokens,
  weighted,
} from "@layerfold/merge";
import { tokensOf } from "./calibration.js";
import { calibrationBatches, sequenceBatches, tokensPerBatch, tokensPerTappedBatch } from "./inputs.js";
import type { Run } from "./run.js";
import type { Comparison } from "./similarity.js";
import type { Known } from "./unfinished.js";

/** Where a planner's evidence may come from; what is absent is made from the calibration text when the planner asks for it. */
export interface EvidenceSources extends BesideText {
  readonly checkpoint: Checkpoint;
  readonly comparison: Comparison;
  readonly similarity?: Matrix;
  readonly activations?: Activations;
  readonly calibration?: TokenSequences;
  readonly pooling: Pooling;
  /** Tokens of the calibration text that plans are tried on; default 16,384. */
  readonly planningTokens?: number;
  /** What plans are judged with by planners that look at them after fold and repair. */
  readonly fold?: { readonly strategy: MergeStrategy; readonly repair?: Repair };
  /** Keeps what plans were found to be worth; all other sources are the same whenever it is asked. */
  readonly known?: Known;
}

/** What a plan's loss weighs beside the mean loss of the text's tokens. */
interface BesideText {
  readonly answers?: WeighedAnswers;
  /** Weight of the mean loss of those of the text's tokens that stood in their window before; default 0. */
  readonly recallWeight?: number;
}

/** Answered questions, and what their loss weighs beside the text's. */
export interface WeighedAnswers {
  /** Their answers are the only targets. */
  readonly sequences: readonly TokenSequence[];
  readonly weight: number;
}

/** Whether a planner's evidence, and so its plan, depends on how the plan will be carried out: on the strategy, or on the repair too. */
export function judgesBy({ needs }: Planner): "strategy" | "repair" | undefined {
  if (needs.includes("evaluateRepaired") || needs.includes("evaluateFolded")) return "repair";
  return needs.includes("compareOutputs") ? "strategy" : undefined;
}

/** Whether a planner's evidence is what the layers do to the whole calibration text. */
export function seesActivations({ needs }: Planner): boolean {
  return needs.includes("similarity") || needs.includes("tokenStatistics");
}

/** Captures a calibration text, or a part of it, through a checkpoint. */
export async function captureCheckpoint(
  checkpoint: Checkpoint,
  sequences: readonly TokenSequence[],
  pooling: Pooling,
  run: Run,
): Promise<Activations> {
  const source = checkpointSource(checkpoint);
  const options = { pooling, totalTokens: tokensOf(sequences) };
  try {
    return await captureActivations(source, sequenceBatches(sequences), options, run.ctx);
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
  const { checkpoint, comparison, calibration, pooling } = sources;
  const { architecture } = checkpoint;
  let { activations, similarity } = sources;
  const capture = async () => {
    activations ??= calibration && (await captureCheckpoint(checkpoint, calibration.sequences, pooling, run));
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
  const planning = calibration ? spreadSequences(calibration, sources.planningTokens ?? 16_384) : [];
  const losses =
    calibration && planner.needs.includes("evaluate")
      ? await planLosses(checkpoint, planning, sources, run)
      : undefined;
  const divergences =
    calibration && planner.needs.includes("evaluateDivergence")
      ? await planDivergences(checkpoint, calibration, run)
      : undefined;
  const { strategy, repair } = sources.fold ?? {};
  const outputs =
    calibration && strategy && planner.needs.includes("compareOutputs")
      ? await outputCosines(checkpoint, planning, strategy, run)
      : undefined;
  const trial: FoldTrial | undefined =
    calibration && strategy && repair
      ? {
          checkpoint,
          fitted: planning.filter((_, i) => i % judgingEvery !== 0),
          judging: planning.filter((_, i) => i % judgingEvery === 0),
          beside: sources,
          strategy,
          repair,
        }
      : undefined;
  const repaired =
    trial && planner.needs.includes("evaluateRepaired") ? await repairedLosses(trial, run) : undefined;
  const foldedGroups =
    trial && planner.needs.includes("evaluateFolded") ? await foldedLosses(trial, run) : undefined;
  const layers = repair?.refuses && (await layerFacts(checkpoint));
  /** A fold of these layers and those between them that could not be repaired. */
  const refused = (a: number, b: number) =>
    a !== b && layers && repair?.refuses?.(layers.slice(Math.min(a, b), Math.max(a, b) + 1)) !== undefined;
  const { known = (_, make) => make() } = sources;
  /** A greedy planner that is asked for 12 layers and then for 10 walks the same way twice. */
  const remembered = <In, Out>(name: string, measure: (asked: In) => Promise<Out>) => {
    const answers = new Map<string, Out>();
    // One at a time, lists too: what measures keeps the streams of the last question for the next.
    let last: Promise<unknown> = Promise.resolve();
    return (asked: readonly In[]): Promise<readonly Out[]> => {
      const answered = last.then(async () => {
        const keys = asked.map((of) => JSON.stringify(of));
        for (const [i, key] of keys.entries()) {
          throwIfAborted(run.ctx.signal);
          if (!answers.has(key)) {
            answers.set(key, await known(["evidence", name, asked[i]], () => measure(asked[i])));
          }
          if (asked.length > 1) {
            const [done, total] = [i + 1, asked.length];
            run.ctx.report?.({ type: "progress", stage: "trials", done, total, unit: "trials" });
          }
        }
        return keys.map((key) => answers.get(key)!);
      });
      last = answered.catch(() => undefined);
      return answered;
    };
  };
  const evidence: Evidence = {
    layerCount: architecture.blocks.length,
    similarity,
    tokenStatistics,
    compatible: (a, b) => compatibleLayers(architecture, a, b) && !refused(a, b),
    evaluate: losses && remembered("loss", losses.lossOf),
    evaluateDivergence: divergences && remembered("divergence", divergences.divergenceOf),
    evaluateRepaired: repaired && remembered("repaired", repaired.lossOf),
    evaluateFolded: foldedGroups && remembered("folded", foldedGroups.lossOf),
    compareOutputs: outputs && remembered("outputs", outputs.cosineOf),
    ...(calibration && {
      remeasure: remembered("similarity", (plan: MergePlan) =>
        remeasured(checkpoint, plan, calibration, pooling, comparison, run),
      ),
    }),
  };
  return {
    evidence,
    async close() {
      await losses?.close();
      await divergences?.close();
      await repaired?.close();
      await foldedGroups?.close();
      await outputs?.close();
    },
  };
}

/** Sequences spread evenly over the calibration text, about so many tokens. */
export function spreadSequences(
  { sequences, tokenCount }: TokenSequences,
  tokens: number,
): readonly TokenSequence[] {
  const share = Math.max(1, tokenCount / tokens);
  return sequences.filter((_, i) => Math.floor(i / share) !== Math.floor((i - 1) / share));
}

/** Batches that a plan is judged on. */
interface JudgedTexts {
  readonly batches: readonly TokenBatch[];
  /** Per batch [rows · sequenceLength]: what the token behind each place weighs in the loss. */
  readonly weights: readonly Float64Array[];
}

/** @throws TEXT_EMPTY when no token counts */
function judgedTexts(
  text: readonly TokenSequence[],
  { answers, recallWeight = 0 }: BesideText = {},
): JudgedTexts {
  const ofText = weighedBatches(text, 1);
  if (recallWeight > 0) {
    const recalled = ofText.map(({ batch, weights }) =>
      recalledTokens(batch).rows.filter((row) => weights[row] > 0),
    );
    const count = recalled.reduce((sum, rows) => sum + rows.length, 0);
    recalled.forEach((rows, i) => {
      for (const row of rows) ofText[i].weights[row] += recallWeight / count;
    });
  }
  const judged = [...ofText, ...(answers ? weighedBatches(answers.sequences, answers.weight) : [])];
  return { batches: judged.map(({ batch }) => batch), weights: judged.map(({ weights }) => weights) };
}

/** A text's batches, the weight shared out evenly among the tokens that count. */
function weighedBatches(sequences: readonly TokenSequence[], weight: number) {
  const share = weight / countTargets(sequences);
  const ids = sequences.map((sequence) => sequence.ids);
  return batchBySize(ids, tokensPerBatch).map(({ batch, indices }) => {
    const weights = new Float64Array(batch.batchSize * batch.sequenceLength);
    indices.forEach((index, row) => {
      const first = row * batch.sequenceLength - 1;
      weights.fill(share, first + sequences[index].scoredFrom, first + batch.lengths[row]);
    });
    return { batch, weights };
  });
}

/** What is left of a model once its blocks have run: it is fed the streams of the batches that it will be asked for, in their order. */
function streamModel(runner: ModelRunner) {
  let streams: Iterator<Hidden> = [].values();
  const model = runnerLanguageModel({
    ...runner,
    layerCount: 0,
    embed: async () => streams.next().value,
  });
  return {
    model,
    feed(behind: readonly Hidden[]) {
      streams = behind.values();
    },
  };
}

/** The weighed sum of the tokens' losses, in nats: their mean, where nothing is weighed beside the text. */
function streamLoss(runner: ModelRunner, { batches, weights }: JudgedTexts) {
  const { model, feed } = streamModel(runner);
  return async (behind: readonly Hidden[]): Promise<number> => {
    feed(behind);
    let loss = 0;
    for (const [b, batch] of batches.entries()) {
      const scores = await model.tokenLogProbabilities(batch);
      weights[b].forEach((weight, i) => {
        if (weight > 0) loss -= weight * scores[i];
      });
    }
    return loss;
  };
}

/** The calibration loss of one plan after another, layers dropped or silenced. What two plans begin with alike is run once. */
async function planLosses(
  checkpoint: Checkpoint,
  sequences: readonly TokenSequence[],
  beside: BesideText,
  run: Run,
) {
  const runner = await openRunner(checkpoint);
  const judged = judgedTexts(sequences, beside);
  const streamsOf = planStreams(runner, judged.batches, silenced(runner, run.ctx), run.ctx);
  const lossOf = streamLoss(runner, judged);
  return {
    lossOf: async (plan: MergePlan) => lossOf(await streamsOf(plan)),
    close: () => runner.close(),
  };
}

/** Blocks of groups that are no plain drop, in plans of which nothing is merged: those whose halves fall silent. */
function silenced(runner: ModelRunner, ctx: RunContext) {
  return (group: PlanGroup) => foldGroup(group, drop(), ctx, runner);
}

/** A divergence looks at every entry of the vocabulary, and varies less from token to token than a loss does. */
const divergenceTokens = 4096;
/** Logits of a batch, of each of two models. */
const divergenceValues = 2 ** 26;

/** KL(dense ‖ plan) of one plan after another, layers dropped or silenced. */
async function planDivergences(checkpoint: Checkpoint, calibration: TokenSequences, run: Run) {
  const runner = await openRunner(checkpoint);
  const quiet = { ...run.ctx, report: undefined };
  const sequences = spreadSequences(calibration, divergenceTokens);
  const maxTokensPerBatch = Math.min(tokensPerBatch, Math.ceil(divergenceValues / runner.vocabularySize));
  const batches = sequenceBatches(sequences, maxTokensPerBatch);
  const streamsOf = planStreams(runner, batches, silenced(runner, run.ctx), run.ctx);
  const dense = rememberedLogits(runnerLanguageModel(runner), 2 ** 30);
  const head = streamModel(runner);
  return {
    async divergenceOf(plan: MergePlan): Promise<number> {
      head.feed(await streamsOf(plan));
      return (await klToDense(dense, head.model, sequences, { maxTokensPerBatch }, quiet)).klToDense;
    },
    close: () => runner.close(),
  };
}

/** Mean cosine of one merged model's last stream after another with the dense model's. */
async function outputCosines(
  checkpoint: Checkpoint,
  sequences: readonly TokenSequence[],
  strategy: MergeStrategy,
  run: Run,
) {
  const runner = await openRunner(checkpoint);
  const batches = sequenceBatches(sequences);
  const quiet = { ...run.ctx, report: undefined };
  const merged = (group: PlanGroup) => foldGroup(group, strategy, quiet, runner);
  const streamsOf = planStreams(runner, batches, merged, run.ctx);
  const layers = Array.from({ length: runner.layerCount }, (_, layer) => layer);
  const dense = await streamsOf(dropPlan(runner.layerCount, layers));
  return {
    async cosineOf(plan: MergePlan): Promise<number> {
      const cosine = meanTokenCosine(await streamsOf(plan), dense);
      return Number.isNaN(cosine) ? -1 : cosine;
    },
    close: () => runner.close(),
  };
}

function meanTokenCosine(a: readonly Hidden[], b: readonly Hidden[]): number {
  let [sum, tokens] = [0, 0];
  for (const [i, hidden] of a.entries()) {
    const [own, other] = [hidden.states, b[i].states];
    const shift = other.offset - own.offset;
    eachToken(hidden, (start) => {
      let [dot, left, right] = [0, 0, 0];
      for (let j = start; j < start + own.shape[2]; j++) {
        const [x, y] = [own.data[j], other.data[j + shift]];
        dot += x * y;
        left += x * x;
        right += y * y;
      }
      sum += dot / Math.sqrt(left * right);
      tokens++;
    });
  }
  return sum / tokens;
}

/** Of the planning text, every so many-th sequence judges and is not fitted to. */
const judgingEvery = 4;

/** What folds are tried on. */
interface FoldTrial {
  readonly checkpoint: Checkpoint;
  /** What the repair sees. */
  readonly fitted: readonly TokenSequence[];
  /** What it does not. */
  readonly judging: readonly TokenSequence[];
  readonly beside?: BesideText;
  readonly strategy: MergeStrategy;
  readonly repair: Repair;
}

async function openTrial({ checkpoint, fitted, judging, beside }: FoldTrial, run: Run) {
  const runner = await openRunner(checkpoint);
  const quiet = { ...run.ctx, report: undefined };
  const fitting = sequenceBatches(fitted, tokensPerTappedBatch(checkpoint.architecture));
  const judged = judgedTexts(judging, beside);
  return {
    runner,
    quiet,
    /** Batches that are fitted, and those that judge. */
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

/** The same loss after fold and repair, on text that the repair did not see. The folded blocks are run as they come and let go. */
export async function repairedLosses(request: FoldTrial, run: Run) {
  const { checkpoint, strategy, repair } = request;
  const { runner, quiet, fitting, batches, embedded, behind, lossOf, close } = await openTrial(request, run);
  return {
    async lossOf(plan: MergePlan): Promise<number> {
      const blocks = foldedBlocks(checkpoint, plan, strategy, quiet);
      let streams = await embedded(batches);
      for await (const { block } of repair.fit(runner, plan, blocks, () => each(fitting), quiet)) {
        streams = await behind(block.layer, streams, block);
      }
      return lossOf(streams);
    },
    close,
  };
}

/**
 * The loss with one group folded and repaired in the dense model, on text that the repair did not see. The dense streams before the last
 * group are kept, so that from the front to the back each layer runs once on the text that is fitted.
 */
async function foldedLosses(request: FoldTrial, run: Run) {
  const { checkpoint, strategy, repair } = request;
  const { runner, quiet, fitting, batches, embedded, behind, lossOf, close } = await openTrial(request, run);
  const { layerCount } = runner;
  const advance = async (streams: readonly Hidden[], from: number, to: number) => {
    let moved = streams;
    for (let layer = from; layer < to; layer++) moved = await behind(layer, moved);
    return moved;
  };
  let reached: { layer: number; fitting: readonly Hidden[]; judging: readonly Hidden[] } | undefined;
  const streamsBefore = async (layer: number) => {
    const last =
      reached && reached.layer <= layer
        ? reached
        : { layer: 0, fitting: await embedded(fitting), judging: await embedded(batches) };
    reached = {
      layer,
      fitting: await advance(last.fitting, last.layer, layer),
      judging: await advance(last.judging, last.layer, layer),
    };
    return reached;
  };
  return {
    async lossOf(layers: readonly number[]): Promise<number> {
      if (layers.length === 0) return lossOf(await advance(await embedded(batches), 0, layerCount));
      const [first] = layers;
      const end = first + layers.length;
      const streams = await streamsBefore(first);
      const kept = Array.from({ length: layerCount }, (_, l) => l).filter((l) => l <= first || l >= end);
      const plan = dropPlan(layerCount, kept);
      const blocks = foldedBlocks(checkpoint, plan, strategy, quiet);
      // By batch, since a repair may look at some of them before it looks at all.
      const before = new Map(fitting.map((batch, i) => [batch, streams.fitting[i]]));
      const model = { ...runner, embed: async (batch: TokenBatch) => before.get(batch)! };
      const part = { ...plan, groups: [plan.groups[first]] };
      let judging = streams.judging;
      for await (const { block } of repair.fit(
        model,
        part,
        () => blocks(first),
        () => each(fitting),
        quiet,
      )) {
        judging = await behind(first, judging, block);
      }
      return lossOf(await advance(judging, end, layerCount));
    },
    close,
  };
}

async function* each<T>(values: Iterable<T>): AsyncGenerator<T> {
  yield* values;
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
