import type { TokenSequence } from "@layerfold/checkpoint";
import type { Architecture, Evidence, MergePlan, RemeasuredLayers, TokenStatistics } from "@layerfold/core";
import { compatibleLayers } from "@layerfold/merge";
import type { Artefact, Json, Task, TaskContext } from "@layerfold/tasks";
import { givenText } from "../tasks/given-text.js";
import { matrixOf, type StoredMatrix } from "../tasks/similarity.js";
import type { StoredModel } from "../tasks/stored-model.js";
import { spreadSequences } from "./spread-sequences.js";
import { type TrialConditions, type TrialQuestion, trialTask } from "./trial.js";

/** Plans whose trials are one task: what one costs, against what it costs to keep it. */
const askedTogether: Readonly<Record<TrialQuestion, number>> = {
  loss: 8,
  divergence: 8,
  outputs: 8,
  repaired: 1,
  folded: 1,
  similarity: 1,
};

/** A divergence looks at every entry of the vocabulary, and varies less from token to token than a loss does. */
const divergenceTokens = 4096;

/** Where a planner's evidence comes from; what is absent cannot be had. */
export interface EvidenceSources {
  readonly architecture: Architecture;
  readonly model: Artefact<StoredModel>;
  readonly similarity?: StoredMatrix | undefined;
  readonly tokenStatistics?: TokenStatistics | undefined;
  /** The calibration text. */
  readonly text?: readonly TokenSequence[] | undefined;
  /** Answered questions, weighed beside the text. */
  readonly answers?: readonly TokenSequence[] | undefined;
  /** Tokens of the text that plans are tried on. */
  readonly planningTokens: number;
  readonly conditions: Omit<TrialConditions, "question">;
}

/** Evidence that is found out by trials, each a task: asked in lists, answered in order, and never made twice. */
export function taskEvidence(sources: EvidenceSources, ctx: Pick<TaskContext, "run" | "report">): Evidence {
  const { architecture, model, similarity, tokenStatistics, text, answers, planningTokens, conditions } =
    sources;
  const layerCount = architecture.blocks.length;
  const known: Evidence = {
    layerCount,
    ...(similarity && { similarity: matrixOf(similarity) }),
    ...(tokenStatistics && { tokenStatistics }),
    compatible: (a, b) => compatibleLayers(architecture, a, b),
  };
  if (!text) return known;
  const planning = givenText(spreadSequences(text, planningTokens));
  const weighed = answers && givenText(answers);

  const ask =
    <Answer>(
      question: TrialQuestion,
      on: Task<readonly TokenSequence[]>,
      relevant: Partial<TrialConditions>,
    ) =>
    async (asked: readonly (MergePlan | readonly number[] | RemeasuredLayers)[]): Promise<Answer[]> => {
      const all: TrialConditions = {
        question,
        strategy: null,
        repair: null,
        comparison: null,
        pooling: null,
        recall_weight: 0,
        answer_weight: 0,
        seed: conditions.seed,
        ...relevant,
      };
      const weighs = all.answer_weight > 0 ? weighed : undefined;
      const size = askedTogether[question];
      const lists = Array.from({ length: Math.ceil(asked.length / size) }, (_, i) =>
        asked.slice(i * size, (i + 1) * size),
      );
      let done = 0;
      const found = await ctx.run(
        lists.map((list) =>
          trialTask({ ...all, asked: list as unknown as Json[] }, { model, text: on, answers: weighs }),
        ),
        () => {
          if (lists.length < 2) return;
          done = Math.min(asked.length, done + size);
          ctx.report?.({ type: "progress", stage: "trials", done, total: asked.length, unit: "trials" });
        },
      );
      return found.flat() as Answer[];
    };

  const { strategy, repair, comparison, pooling, recall_weight } = conditions;
  const beside = { recall_weight, answer_weight: weighed ? conditions.answer_weight : 0 };
  const fold = { ...beside, strategy, repair };
  return {
    ...known,
    evaluate: ask("loss", planning, beside),
    evaluateDivergence: ask("divergence", givenText(spreadSequences(text, divergenceTokens)), {}),
    ...(strategy && { compareOutputs: ask("outputs", planning, { strategy }) }),
    ...(strategy &&
      repair && {
        evaluateRepaired: ask("repaired", planning, fold),
        evaluateFolded: ask("folded", planning, fold),
      }),
    ...(comparison && {
      remeasure: async (asked) => {
        const measured = ask<StoredMatrix>("similarity", givenText(text), { comparison, pooling });
        return (await measured(asked)).map(matrixOf);
      },
    }),
  };
}
