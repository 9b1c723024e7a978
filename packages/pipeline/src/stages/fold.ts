import { join } from "node:path";
import { LayerfoldError, type MergePlan, type MergeStrategy, type Repair } from "@layerfold/core";
import { checkPlan, checkRepair, layerFacts } from "@layerfold/merge";
import { type SizedCalibration, sizedCalibration } from "../calibration/calibration-size.js";
import {
  type Calibration,
  type CalibrationOptions,
  readCalibration,
} from "../calibration/read-calibration.js";
import { checkSpace, expectedBytes } from "../disk-space.js";
import { openModel, openModelCheckpoint } from "../inputs/open-model.js";
import { manifestOf, modelFact } from "../manifest.js";
import { inputPaths, writeJson } from "../outputs.js";
import { foldParts } from "../preset-parts.js";
import { pluginsNamed } from "../recipe/manifest-recipe.js";
import type { Part } from "../recipe/recipe-schema.js";
import { pluginFacts } from "../registry.js";
import { repairChoices } from "../repair-choices.js";
import { asRun, type Run, type RunOptions } from "../run.js";
import { runTask, type TaskCounts } from "../task-runner.js";
import type { StoredFold } from "../tasks/fold.js";
import { withTasks } from "../work-folder.js";
import { modelOf } from "./given-inputs.js";
import { calibratedModel } from "./open-workbench.js";
import { readPlan } from "./plan-file.js";
import { checkResultFolder, copyTree, putResult } from "./put-result.js";
import { foldOf } from "./workbench.js";

export interface FoldRequest extends CalibrationOptions {
  /** Checkpoint folder, or `hf:org/name`. */
  readonly model: string;
  /** Or a file that holds one. */
  readonly plan: MergePlan | string;
  /** How layers become one: an id, a path to a module, or the plug-in; default `weighted`. */
  readonly strategy?: Part<MergeStrategy> | undefined;
  /** Correction afterwards; needs a calibration text. */
  readonly repair?: Part<Repair> | undefined;
  readonly calibration?: string | undefined;
  /** Folder to write. */
  readonly out: string;
  readonly force?: boolean | undefined;
}

export interface FoldResult extends Omit<StoredFold, "directory"> {
  readonly directory: string;
  readonly plan: MergePlan;
  /** Tasks that were made, and those that an earlier run or another process had done. */
  readonly tasks: TaskCounts;
  /** Where `calibrationTokens` was `auto`: how many tokens were found to be enough. */
  readonly sized?: SizedCalibration;
}

/**
 * Carries a plan out: writes the folded checkpoint, repaired where a repair is named.
 * @throws what reading the model, the plan and the texts throws; CALIBRATION_MISSING; what `foldCheckpoint` throws
 */
export async function fold(request: FoldRequest, options: RunOptions | Run = {}): Promise<FoldResult> {
  const run = asRun(options);
  const { out, force, calibration: texts } = request;
  const { strategy, repair } = await foldParts(
    { strategy: request.strategy ?? "weighted", ...(request.repair && { repair: request.repair }) },
    run,
  );
  run.settings.assertUsed();
  const files = [typeof request.plan === "string" ? request.plan : undefined];
  const inputs = inputPaths({ models: [request.model], texts: [texts], files });
  await checkResultFolder(out, { force, inputs }, run);
  if (repair && texts === undefined) {
    throw new LayerfoldError("CALIBRATION_MISSING", `the repair ${repair.id} needs a calibration text`, {
      wanted: "--calibration FILE",
    });
  }
  const plan = typeof request.plan === "string" ? await readPlan(request.plan) : request.plan;
  // A merge alone looks at no text, so a checkpoint without a tokenizer will do.
  const opened = repair
    ? await openModel(request.model, run)
    : { checkpoint: await openModelCheckpoint(request.model, run), tokenizer: undefined };
  const { checkpoint, tokenizer } = opened;
  try {
    const { groups } = checkPlan(plan, checkpoint.architecture);
    if (repair) checkRepair(repair, await layerFacts(checkpoint), groups, repairChoices(repair));
    return await withTasks(out, run, async (tasks, folder) => {
      const kept = [expectedBytes(checkpoint).fold(groups.length)];
      await checkSpace(tasks, { folder, out }, { kept });
      const model = await modelOf(checkpoint, run);
      const all =
        tokenizer && texts !== undefined
          ? await readCalibration(
              texts,
              calibratedModel({ checkpoint, tokenizer, model }, tasks, run),
              request,
              run,
            )
          : undefined;
      const sized =
        request.calibrationTokens === "auto" && repair && all
          ? await sizedCalibration(model, { plan, strategy, repair }, all, { tasks, seed: run.seed })
          : undefined;
      const calibration: Calibration | undefined = sized?.calibration ?? all;
      const task = foldOf({ model, calibration, run }, { plan, strategy, repair });
      const folded = await runTask(tasks, task);
      const { model: path, out: _, force: __, ...given } = request;
      const manifest = manifestOf(
        {
          command: "merge",
          arguments: pluginsNamed({ ...given, plan }),
          model: await modelFact(path, checkpoint),
          data: { ...(calibration && repair && { calibration: calibration.facts }) },
          plugins: pluginFacts(strategy, repair),
        },
        run,
      );
      await putResult(out, { force, folder, store: tasks.store }, run, async (finished) => {
        await copyTree(folded.directory, finished);
        await writeJson(join(finished, "manifest.json"), manifest);
      });
      return { ...folded, directory: out, plan, tasks: tasks.counts, ...(sized && { sized }) };
    });
  } finally {
    await checkpoint.close();
  }
}
