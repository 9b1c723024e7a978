import { parsePooling } from "@layerfold/capture";
import type { Checkpoint, TokenSequence } from "@layerfold/checkpoint";
import type { MergePlan, MergeStrategy, Repair } from "@layerfold/core";
import type { Artefact, Json, Task } from "@layerfold/tasks";
import type { Calibration } from "../calibration/read-calibration.js";
import type { EvaluationSet } from "../evaluation/evaluation-set.js";
import type { WeighedAnswers } from "../evidence/judged-text.js";
import { judgesBy } from "../evidence/judges-by.js";
import { optionalReference, referenceOf } from "../plugin-reference.js";
import type { PresetParts } from "../preset-parts.js";
import type { Run } from "../run.js";
import { shardsOf } from "../shards.js";
import { runTask, type TaskRunner } from "../task-runner.js";
import { captureTask, joinedCaptureTask, type StoredCapture } from "../tasks/capture.js";
import { foldTask, type StoredFold } from "../tasks/fold.js";
import { givenText } from "../tasks/given-text.js";
import { planTask } from "../tasks/plan.js";
import { type ComparisonReference, type StoredMatrix, similarityTask } from "../tasks/similarity.js";
import type { StoredModel } from "../tasks/stored-model.js";
import type { Comparison } from "./similarity.js";

/** A model, and the texts that it is planned, folded and measured with. */
export interface Workbench {
  readonly checkpoint: Checkpoint;
  readonly model: Artefact<StoredModel>;
  readonly calibration?: Calibration | undefined;
  /** Questions that planners weigh which try plans. */
  readonly answers?: WeighedAnswers | undefined;
  /** Tokens of the calibration text that plans are tried on; default 16,384. */
  readonly planningTokens?: number | undefined;
  /** Samples of a capture, as `parsePooling` reads it. */
  readonly pooling: string;
  readonly evaluationSet: EvaluationSet;
  readonly tasks: TaskRunner;
  readonly run: Run;
}

/** What the layers do to a text. */
export function captureOf(
  { model, pooling, run }: Pick<Workbench, "model" | "pooling" | "run">,
  text: readonly TokenSequence[],
): Task<StoredCapture> {
  const { execution = "whole" } = run;
  const parsed = parsePooling(pooling);
  const least = typeof parsed === "object" ? parsed.every : 1;
  const shards = shardsOf(text, ({ ids }) => ids.length >= least);
  const tasks = shards.map((shard) => captureTask({ pooling, execution }, { model, text: givenText(shard) }));
  return tasks.length === 1 ? tasks[0] : joinedCaptureTask({ pooling }, Object.fromEntries(tasks.entries()));
}

/** How alike the layers are by their captured activations. */
export function similarityOf(
  capture: Task<StoredCapture> | Artefact<StoredCapture>,
  comparison: Comparison,
  { seed }: Pick<Run, "seed">,
): Task<StoredMatrix> {
  return similarityTask({ ...comparisonReference(comparison), seed }, { capture });
}

function comparisonReference({ measure, embedding }: Comparison): ComparisonReference {
  return { measure: referenceOf(measure), embedding: referenceOf(embedding) };
}

/** What may stand in a plan's evidence in the stead of what is made for it. */
export interface GivenEvidence {
  readonly capture?: Artefact<StoredCapture> | undefined;
  readonly similarity?: Artefact<StoredMatrix> | undefined;
}

/**
 * Plans. What the planner does not look at stands in no digest: planners that judge plans without repair plan the same under every repair.
 * @param recallWeight - of tokens that stood in their window before, where plans are tried
 */
export function planOf(
  bench: Omit<Workbench, "evaluationSet">,
  { planner, strategy, repair, trial = repair, comparison }: PresetParts,
  target: number,
  recallWeight = 0,
  given: GivenEvidence = {},
): Promise<MergePlan> {
  const { model, calibration, answers, planningTokens = 16_384, pooling, run } = bench;
  const { needs } = planner;
  const judged = judgesBy(planner);
  const compares = needs.includes("similarity");
  const text = calibration?.sequences;
  const captured = given.capture ?? (text && captureOf(bench, text));
  const tries = needs.some((kind) => kind !== "similarity" && kind !== "tokenStatistics");
  const weighs = tries && answers !== undefined;
  return runTask(
    bench.tasks,
    planTask(
      {
        planner: referenceOf(planner),
        target,
        planning_tokens: tries ? planningTokens : 0,
        conditions: {
          strategy: judged ? referenceOf(strategy) : null,
          repair: judged === "repair" ? optionalReference(trial) : null,
          comparison: compares ? comparisonReference(comparison) : null,
          pooling: compares ? pooling : null,
          recall_weight: tries ? recallWeight : 0,
          answer_weight: weighs ? answers.weight : 0,
          seed: run.seed,
        },
      },
      {
        model,
        text: text && (tries || compares) ? givenText(text) : undefined,
        answers: weighs ? givenText(answers.sequences) : undefined,
        capture: needs.includes("tokenStatistics") ? captured : undefined,
        similarity: compares
          ? (given.similarity ?? (captured && similarityOf(captured, comparison, run)))
          : undefined,
      },
    ),
  );
}

/** How a plan is carried out. */
export interface Fold {
  readonly plan: MergePlan;
  readonly strategy: MergeStrategy;
  readonly repair?: Repair | undefined;
  /** In the stead of the whole calibration text. */
  readonly calibration?: Pick<Calibration, "sequences"> | undefined;
}

/** A plan carried out. Only a repair looks at the calibration text. */
export function foldOf(
  { model, calibration: whole, run }: Pick<Workbench, "model" | "calibration" | "run">,
  { plan, strategy, repair, calibration = whole }: Fold,
): Task<StoredFold> {
  return foldTask(
    {
      plan: plan as unknown as Json,
      strategy: referenceOf(strategy),
      repair: optionalReference(repair),
      max_shard_bytes: null,
      seed: run.seed,
    },
    { model, text: repair && calibration ? givenText(calibration.sequences) : undefined },
  );
}
