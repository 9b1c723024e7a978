import { join } from "node:path";
import type { Checkpoint, Tokenizer } from "@layerfold/checkpoint";
import type { Architecture, MergePlan } from "@layerfold/core";
import {
  checkWritable,
  fileError,
  makeFolder,
  realPath,
  refuseForeignFiles,
  refuseInputs,
  writeWholeFile,
} from "@layerfold/disk";
import { answerFacts } from "../calibration/read-calibration.js";
import { checkSpace, expectedBytes, type SpaceNeed } from "../disk-space.js";
import { evaluationFacts } from "../evaluation/evaluation-set.js";
import { openModel } from "../inputs/open-model.js";
import { type Manifest, manifestOf, modelFact } from "../manifest.js";
import { withExecution } from "../memory.js";
import { inputPaths } from "../outputs.js";
import { placeOf } from "../place.js";
import { trialFacts } from "../preset-parts.js";
import { manifestRecipe } from "../recipe/manifest-recipe.js";
import type { EarlierRun, RecipeSource } from "../recipe/read-recipe.js";
import { evaluationRequest, workbenchRequest } from "../recipe/recipe-parts.js";
import { recipeInputs } from "../recipe/recipe-paths.js";
import type { Recipe } from "../recipe/recipe-schema.js";
import { pluginFacts } from "../registry.js";
import type { Run } from "../run.js";
import { settingsOf } from "../settings.js";
import { addResultFiles, checkResultFolder, copyTree, putResult } from "../stages/put-result.js";
import { withTasks } from "../work-folder.js";
import { type Grid, type GridTable, gridTable, openGrid, plansOf } from "./grid.js";
import { type GridInputs, readGridInputs } from "./grid-inputs.js";
import { ablationFiles, ablationNames } from "./render-ablation.js";
import { qualityFiles, qualityNames } from "./render-quality.js";
import { resultCheckpoints, resultFiles } from "./render-results.js";

/** Where a grid goes, and on whose behalf it runs. */
export interface GridTarget {
  /** Absent: the recipe's own; where that says nothing too, everything is measured and thrown away. */
  readonly out?: string | undefined;
  readonly force?: boolean | undefined;
  /** For the manifest. */
  readonly command: string;
}

/** What came of a grid. */
export interface GridOutcome {
  readonly table: GridTable;
  readonly architecture: Architecture;
  /** The folder that was written. */
  readonly out?: string;
  /** Tasks that were made, and those that an earlier run or another process had done. */
  readonly tasks: { readonly made: number; readonly found: number };
}

/** What a kind of report writes, and what it asks of the grid. */
interface ReportKind {
  /** Its folder is put in its place whole; else files are added to what stands there. */
  readonly whole: boolean;
  readonly pictures: "first" | "all" | "none";
  readonly divergence: boolean;
  /** Its files are written anew after every plan. */
  readonly grows: boolean;
  readonly names: readonly string[];
  files(grid: Grid, table: GridTable, manifest: Manifest): ReadonlyMap<string, string>;
}

const reports: Readonly<Record<NonNullable<Recipe["report"]>, ReportKind>> = {
  results: {
    ...{ whole: true, pictures: "first", divergence: true, grows: false, names: [] },
    files: resultFiles,
  },
  ablation: {
    ...{ whole: false, pictures: "all", divergence: false, grows: false, names: ablationNames },
    files: ablationFiles,
  },
  quality: {
    ...{ whole: false, pictures: "none", divergence: true, grows: true, names: qualityNames },
    files: qualityFiles,
  },
};

/** The report that a recipe asks for. */
export function reportOf({ report = "results" }: Recipe): ReportKind {
  return reports[report];
}

/** A run with the options and the device of a recipe; those of the run itself go before them. */
export function runWith(recipe: Recipe, run: Run): Run {
  const place = run.place.device
    ? run.place
    : placeOf({ device: recipe.device, allowFallback: recipe.allow_fallback || run.place.allowFallback });
  const { execution = recipe.execution } = run;
  return {
    ...run,
    place,
    settings: settingsOf((recipe.options ?? {}) as never, run.settings.values),
    ...(execution && { execution }),
  };
}

/**
 * Runs a recipe: reads every input, plans, folds and measures, each a task, and writes what the recipe's report is made of. What is done lies in
 * `OUT.work` until OUT stands (of grids that are added to: stays there); after any error the same call goes on from there.
 *
 * @throws what `readGridInputs`, reading the model and carrying the plans out throw, and the codes of `checkOutputFolder`
 */
export async function runGrid(source: RecipeSource, target: GridTarget, given: Run): Promise<GridOutcome> {
  const { recipe, earlier } = source;
  const asked = runWith(recipe, given);
  const report = reportOf(recipe);
  const named = target.out ?? recipe.output;
  const out = named && (await checkOutput(recipe, named, asked, target.force));
  const checkpoints = out !== undefined && (recipe.checkpoints ?? report.whole);
  return withInputs(source, asked, async (opened, inputs) => {
    // Dense and folded model are open together where the one is held against the other.
    const run = withExecution(asked, opened.checkpoint, report.divergence ? 2 : 1);
    const keepWork = run.keepWork || !report.whole;
    const options = { quiet: !report.whole && !report.grows };
    return withTasks(
      out,
      { ...run, keepWork },
      async (tasks, folder) => {
        await checkSpace(tasks, { folder, out }, spaceNeed(opened, inputs, checkpoints));
        const grid = await openGrid(recipe, opened, inputs, tasks, run);
        const manifest =
          out === undefined && !earlier
            ? undefined
            : await gridManifest(grid, out ?? ".", target.command, run);
        if (earlier && manifest) compareRuns(earlier, manifest, run);
        const add = (table: GridTable) =>
          addResultFiles(out!, { folder, store: tasks.store }, run, report.files(grid, table, manifest!));
        const table = await gridTable(grid, {
          checkpoints,
          pictures: out === undefined ? "none" : report.pictures,
          divergence: report.divergence,
          counted: options.quiet,
          ...(report.grows && out !== undefined && { grown: add }),
        });
        if (out !== undefined && report.whole) {
          await putResult(out, { force: target.force, folder, store: tasks.store }, run, async (finished) => {
            for (const [name, made] of resultCheckpoints(grid, table))
              await copyTree(made, join(finished, name));
            for (const [name, text] of report.files(grid, table, manifest!)) {
              await makeFolder(join(finished, name, ".."));
              await writeWholeFile(join(finished, name), text);
            }
          });
        } else if (out !== undefined) await add(table);
        const { architecture } = opened.checkpoint;
        return { table, architecture, ...(out !== undefined && { out }), tasks: tasks.counts };
      },
      options,
    );
  });
}

/** A fold and its quantised copies for every cell, and what goes once it is measured. */
function spaceNeed({ checkpoint }: Opened, { groups, schemes }: GridInputs, checkpoints: boolean): SpaceNeed {
  const expected = expectedBytes(checkpoint);
  const layers = groups.flat().map(({ target }) => target);
  const folds = layers.map(expected.fold);
  const copies = [checkpoint.architecture.blocks.length, ...layers].flatMap((count) =>
    schemes.map((scheme) => expected.quantized(count, scheme)),
  );
  const stay = checkpoints || schemes.length > 0;
  return { kept: [...(stay ? folds : []), ...copies], passing: folds };
}

/** The plans of a recipe alone: nothing is folded, measured or written. */
export async function gridPlans(
  source: RecipeSource,
  given: Run,
): Promise<{ readonly plans: readonly MergePlan[]; readonly architecture: Architecture }> {
  const asked = runWith(source.recipe, given);
  return withInputs(source, asked, async (opened, inputs) => {
    const run = withExecution(asked, opened.checkpoint);
    return withTasks(undefined, run, async (tasks) => {
      const grid = await openGrid(source.recipe, opened, inputs, tasks, run);
      const plans: MergePlan[] = [];
      for (const group of grid.groups) plans.push(...(await plansOf(grid, group)).map(({ plan }) => plan));
      return { plans, architecture: opened.checkpoint.architecture };
    });
  });
}

interface Opened {
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
}

async function withInputs<T>(
  { recipe, locate }: RecipeSource,
  run: Run,
  work: (opened: Opened, inputs: GridInputs) => Promise<T>,
): Promise<T> {
  const opened = await openModel(recipe.model, run);
  try {
    return await work(opened, await readGridInputs(recipe, opened, run, locate));
  } finally {
    await opened.checkpoint.close();
  }
}

/**
 * Whether a recipe may write to a folder.
 * @returns its real path
 * @throws OUTPUT_EXISTS, OUTPUT_OVERLAPS_INPUT, OUTPUT_IN_USE, and `fileError`'s codes
 */
export async function checkOutput(
  recipe: Recipe,
  out: string,
  run: Pick<Run, "store">,
  force = false,
): Promise<string> {
  const { texts, files, plans } = recipeInputs(recipe);
  const inputs = inputPaths({ models: [recipe.model], files: [...texts, ...files, ...plans] });
  const { whole, names } = reportOf(recipe);
  if (whole) return checkResultFolder(out, { force, inputs }, run);
  const target = await realPath(out);
  await refuseInputs(target, out, inputs);
  await checkWritable(target).catch((error) => {
    throw fileError(error, out);
  });
  await refuseForeignFiles(target, names);
  return target;
}

/** What it takes to repeat the run, and all that its results depend on. */
async function gridManifest(grid: Grid, out: string, command: string, run: Run): Promise<Manifest> {
  const { recipe, bench, groups, schemes } = grid;
  const { calibrationQuestions } = workbenchRequest(recipe);
  const methods = [...new Set(groups.flat().map(({ method }) => method))];
  const plugins = [
    ...methods.flatMap(({ planner, strategy, repair, trial }) => [
      ...pluginFacts(planner, strategy, repair),
      ...trialFacts(trial),
    ]),
    ...pluginFacts(
      ...schemes.flatMap(({ transforms, quantizer }) => [...transforms, quantizer]),
      ...grid.comparisons.flatMap(({ measure, embedding }) => [measure, embedding]),
    ),
  ];
  return manifestOf(
    {
      command,
      recipe: manifestRecipe(recipe, out, run),
      model: await modelFact(recipe.model, bench.checkpoint),
      data: {
        ...(bench.calibration && { calibration: bench.calibration.facts }),
        ...(await answerFacts(calibrationQuestions)),
        ...(await evaluationFacts(evaluationRequest(recipe))),
      },
      plugins: [...new Map(plugins.map((fact) => [JSON.stringify(fact), fact])).values()],
    },
    run,
  );
}

/** Says so where the model or a text is not what it was when a manifest was written: the results will not be the same then. */
function compareRuns({ model, data }: EarlierRun, now: Manifest, { ctx }: Run): void {
  const changed = Object.entries(data).filter(
    ([name, facts]) => JSON.stringify(facts) !== JSON.stringify(now.data[name]),
  );
  const names = changed.map(([name]) => name);
  if (model && model.sha256 !== now.model?.sha256) names.unshift("model");
  if (names.length === 0) return;
  ctx.report?.({
    type: "diagnostic",
    severity: "warning",
    code: "MANIFEST_DIFFERS",
    message: `not what it was when the manifest was written: ${names.join(", ")}`,
  });
}
