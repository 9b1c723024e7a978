import type { Checkpoint, Tokenizer } from "@layerfold/checkpoint";
import {
  type CalibratedModel,
  type CalibrationOptions,
  readCalibration,
} from "../calibration/read-calibration.js";
import {
  type EvaluationSet,
  type SeparatedCalibration,
  separateCalibration,
} from "../evaluation/evaluation-set.js";
import type { WeighedAnswers } from "../evidence/judged-text.js";
import type { TextSource } from "../inputs/text-source.js";
import { needsWhole } from "../memory.js";
import type { Run } from "../run.js";
import { runTask, type TaskRunner } from "../task-runner.js";
import { selfTextTask } from "../tasks/self-text.js";
import type { ModelInput } from "../tasks/stored-model.js";
import { modelOf } from "./given-inputs.js";
import type { Workbench } from "./workbench.js";

export interface WorkbenchRequest extends CalibrationOptions {
  /** As `parseCalibration` reads it, or read. */
  readonly calibration?: string | readonly TextSource[] | undefined;
  readonly planningTokens?: number | undefined;
  /** Default: samples every 16 tokens of a stream, the last token of a document. */
  readonly pooling?: string | undefined;
  /** Measure although the evaluation text stands in the calibration text. */
  readonly allowOverlap?: boolean | undefined;
}

/** A model that is open, what it is judged on, and the questions that planners weigh. */
export interface OpenedModel {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  readonly evaluationSet: EvaluationSet;
  readonly answers?: WeighedAnswers;
}

/**
 * Reads the calibration text and holds it apart from what is judged.
 * @throws what `readCalibration` throws, CALIBRATION_OVERLAPS
 */
export async function openWorkbench(
  request: WorkbenchRequest,
  { checkpoint, tokenizer, evaluationSet, answers }: OpenedModel,
  tasks: TaskRunner,
  run: Run,
): Promise<{ readonly bench: Workbench; readonly separated?: SeparatedCalibration }> {
  const model = await modelOf(checkpoint, run);
  const separated =
    request.calibration === undefined
      ? undefined
      : separateCalibration(
          await readCalibration(
            request.calibration,
            calibratedModel({ checkpoint, tokenizer, model }, tasks, run),
            request,
            run,
          ),
          evaluationSet,
          request.allowOverlap ?? false,
        );
  const calibration = separated?.calibration;
  const pooling = request.pooling ?? (calibration?.hasStream ? "every:16" : "last");
  const { planningTokens } = request;
  return {
    bench: {
      checkpoint,
      model,
      ...(calibration && { calibration }),
      ...(answers && { answers }),
      ...(planningTokens !== undefined && { planningTokens }),
      pooling,
      evaluationSet,
      tasks,
      run,
    },
    ...(separated && { separated }),
  };
}

/** A model for which calibration text is cut, and which can make up its own. */
export function calibratedModel(
  {
    checkpoint,
    tokenizer,
    model,
  }: Pick<OpenedModel, "checkpoint" | "tokenizer"> & { readonly model: ModelInput },
  tasks: TaskRunner,
  { seed, execution }: Pick<Run, "seed" | "execution">,
): CalibratedModel {
  return {
    tokenizer,
    context: checkpoint.architecture.maxPositionEmbeddings,
    async selfText(options) {
      if (execution === "blocks") throw needsWhole(checkpoint, "--calibration self");
      return runTask(tasks, selfTextTask({ ...options, seed }, { model }));
    },
  };
}
