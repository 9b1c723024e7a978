import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { hubSettings } from "@layerfold/checkpoint";
import { isLayerfoldError, type LayerfoldError } from "@layerfold/core";
import { fileError, requireRegularFile } from "@layerfold/disk";
import { readAnswers, readCalibration } from "../calibration/read-calibration.js";
import { readEvaluationSet, separateCalibration } from "../evaluation/evaluation-set.js";
import { gridCells } from "../grid/cells.js";
import { readGridInputs, rowsOfRecipe } from "../grid/grid-inputs.js";
import { checkOutput, runWith } from "../grid/run-grid.js";
import { openModel } from "../inputs/open-model.js";
import { asRun, type Run, type RunOptions } from "../run.js";
import { type RecipeSource, recipeOrProblems } from "./read-recipe.js";
import { evaluationRequest, workbenchRequest } from "./recipe-parts.js";
import { recipeInputs } from "./recipe-paths.js";

export interface ValidatedRecipe {
  /** All that is wrong and can be known without running it. */
  readonly problems: readonly LayerfoldError[];
  /** Plans, and rows of the table without the dense model's and without quantised ones; null where they cannot be known. */
  readonly plans: number | null;
  readonly rows: number | null;
  /** What could not be looked at. */
  readonly notes: readonly string[];
}

/**
 * Checks a recipe without running anything: keys and values, that the model opens and every file is there and holds what it should, that plug-ins
 * load and take their options, that layers are in range and methods fit the model, that the grid is neither empty nor writes an output twice,
 * that judged text does not stand in the calibration text, and that the output may be written. Nothing is downloaded. Cost: reads and tokenises
 * the texts.
 *
 * @param out - in the stead of the recipe's output
 * @throws what reading the file itself throws: RECIPE_INVALID where it is no YAML, FILE_MISSING, FILE_IS_FOLDER
 */
export async function validateRecipe(
  file: string,
  { out, force }: { readonly out?: string | undefined; readonly force?: boolean | undefined } = {},
  options: RunOptions | Run = {},
): Promise<ValidatedRecipe> {
  const found = await recipeOrProblems(file);
  if ("problems" in found) return { problems: found.problems, plans: null, rows: null, notes: [] };
  const checks = gatheredChecks();
  const { recipe } = found;
  const run = runWith(recipe, asRun(options));
  const folder = await checks.of(() => localModel(recipe.model));
  const notes =
    folder === null
      ? [`${recipe.model} is not downloaded yet: what hangs on the model was not looked at.`]
      : [];
  const plans = folder
    ? await checkOnModel(found, folder, run, checks)
    : await checkAlone(found, run, checks);
  const output = out ?? recipe.output;
  if (output !== undefined) await checks.of(() => checkOutput(recipe, output, run, force));
  const rows = plans === undefined ? null : plans * rowsOfRecipe(recipe).length;
  return { problems: checks.problems, plans: plans ?? null, rows, notes };
}

interface Checks {
  /** What a check gives, or undefined where it failed; its error is kept once. */
  of<T>(check: () => Promise<T>): Promise<T | undefined>;
  readonly problems: LayerfoldError[];
}

function gatheredChecks(): Checks {
  const problems: LayerfoldError[] = [];
  return {
    problems,
    async of(check) {
      try {
        return await check();
      } catch (error) {
        if (!isLayerfoldError(error) || error.fault === "interrupted") throw error;
        if (!problems.some(({ message }) => message === error.message)) problems.push(error);
        return undefined;
      }
    },
  };
}

/** The folder of a model, null where it would have to be downloaded. */
async function localModel(model: string): Promise<string | null> {
  if (!model.startsWith("hf:")) return model;
  const [name, revision = "main"] = model.slice("hf:".length).split("@");
  const storage = join(hubSettings(process.env).cacheDirectory, `models--${name.replace("/", "--")}`);
  const sha = await readFile(join(storage, "refs", revision), "utf8").catch(() => revision);
  const snapshot = join(storage, "snapshots", sha.trim());
  return requireRegularFile(join(snapshot, "config.json")).then(
    () => snapshot,
    () => null,
  );
}

/** @returns plans of the grid */
async function checkOnModel(
  { recipe, locate }: RecipeSource,
  folder: string,
  run: Run,
  checks: Checks,
): Promise<number | undefined> {
  const opened = await checks.of(() => openModel(folder, run, { packed: true }));
  if (!opened) return checkAlone({ recipe, locate }, run, checks);
  const { checkpoint, tokenizer } = opened;
  try {
    const context = checkpoint.architecture.maxPositionEmbeddings;
    const request = workbenchRequest(recipe);
    const inputs = await checks.of(() => readGridInputs(recipe, opened, run, locate));
    const evaluationSet =
      inputs?.evaluationSet ??
      (await checks.of(() => readEvaluationSet(evaluationRequest(recipe), context, tokenizer, run)));
    const { calibrationQuestions, calibration } = request;
    if (!inputs && calibrationQuestions !== undefined)
      await checks.of(() => readAnswers(calibrationQuestions, { tokenizer, context }, request, run));
    if (calibration !== undefined) {
      await checks.of(async () => {
        // What the model would make up itself is left open.
        const model = { tokenizer, context, selfText: async () => [] };
        const read = await readCalibration(calibration, model, request, run);
        if (evaluationSet) separateCalibration(read, evaluationSet, request.allowOverlap ?? false);
      });
    }
    return inputs?.groups.flat().length;
  } finally {
    await checkpoint.close();
  }
}

/** Without the model: that files are there, and plug-ins load. */
async function checkAlone(
  { recipe, locate }: RecipeSource,
  run: Run,
  checks: Checks,
): Promise<number | undefined> {
  const { texts, files, plans } = recipeInputs(recipe);
  for (const path of [...texts, ...files, ...plans]) {
    await checks.of(() =>
      requireRegularFile(path).catch((error) => {
        throw fileError(error, path);
      }),
    );
  }
  // As many layers as nothing is out of range.
  const layerCount = Math.max(1000, ...(recipe.layers ?? [])) + 1;
  const cells = await checks.of(() => gridCells(recipe, layerCount, run, locate));
  return cells?.groups.flat().length;
}
