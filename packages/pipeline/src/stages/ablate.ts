import { dirname, resolve } from "node:path";
import { readTextFile } from "@layerfold/checkpoint";
import { LayerfoldError, type MergeStrategy, type Planner, type Repair, z } from "@layerfold/core";
import { checkWritable, fileError, realPath, refuseForeignFiles, refuseInputs } from "@layerfold/disk";
import { checkTarget } from "@layerfold/merge";
import { type AblationCell, renderAblationReport } from "@layerfold/report";
import { parse } from "yaml";
import { checkSpace, expectedBytes } from "../disk-space.js";
import { type EvaluationRequest, evaluationFacts, readEvaluationSet } from "../evaluation/evaluation-set.js";
import { judgesBy } from "../evidence/judges-by.js";
import { openModel } from "../inputs/open-model.js";
import { parseCalibration } from "../inputs/text-source.js";
import { manifestOf, modelName } from "../manifest.js";
import { inputPaths, jsonText } from "../outputs.js";
import { makePlugin, pluginFacts } from "../registry.js";
import type { Run } from "../run.js";
import { matrixOf } from "../tasks/similarity.js";
import { withTasks } from "../work-folder.js";
import { ablationCsv, ablationMarkdown } from "./ablation-table.js";
import { measureModel } from "./measure.js";
import { measuredFold } from "./measured-fold.js";
import { openWorkbench } from "./open-workbench.js";
import { addResultFiles } from "./put-result.js";
import { type Comparison, makeComparison } from "./similarity.js";
import { captureOf, planOf, similarityOf } from "./workbench.js";

const names = z.array(z.string()).min(1);

const recipeSchema = z.strictObject({
  /** Checkpoint folder; paths are relative to the recipe. */
  model: z.string(),
  calibration: z.string(),
  evaluate: z.string().optional(),
  questions: z.string().optional(),
  window: z.number().int().min(2).optional(),
  maxTokens: z.number().int().min(2).optional(),
  calibrationTokens: z.number().int().min(2).optional(),
  selfTemperature: z.number().positive().optional(),
  pooling: z.string().default("last"),
  measures: names.default(["npib"]),
  /** Embedding before a measure, by the measure's name; absent: diffusion-map for npib, else identity. */
  embeddings: z.record(z.string(), z.string()).default({}),
  planners: names,
  strategies: names.default(["weighted"]),
  /** `none` = no repair. */
  repairs: names.default(["none"]),
  /** Layers that remain. */
  layers: z.array(z.number().int().min(1)).min(1),
});

/** An ablation grid: every combination of its lists is one cell. */
type Recipe = z.output<typeof recipeSchema>;

/** @throws RECIPE_INVALID, naming the field, and what `readTextFile` throws */
export async function readRecipe(file: string): Promise<Recipe> {
  const text = await readTextFile(file);
  let content: unknown;
  try {
    content = parse(text);
  } catch (cause) {
    throw new LayerfoldError("RECIPE_INVALID", `cannot read the recipe: ${(cause as Error).message}`, {
      where: file,
      cause,
    });
  }
  const result = recipeSchema.safeParse(content);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new LayerfoldError("RECIPE_INVALID", issue.message, { where: `${file}, ${issue.path.join(".")}` });
}

export interface Ablation {
  /**
   * Of the recipe's lists. A planner that looks at no measure fills one row for all measures, one that judges folds after repair none
   * where nothing is repaired.
   */
  readonly combinations: number;
  readonly cells: readonly AblationCell[];
  /** Folded models that were measured: identical ones once. */
  readonly distinct: number;
  /** Tasks that were made, and those that an earlier run or another process had done. */
  readonly tasks: { readonly made: number; readonly found: number };
}

/** What is written when the grid is done. */
const resultFiles = ["ablation.json", "manifest.json", "ablation.csv", "ablation.md", "report.html"];

/** A grid adds to its folder, and replaces nothing but what it wrote. @throws OUTPUT_EXISTS, OUTPUT_OVERLAPS_INPUT */
async function checkOutput(out: string, recipe: Recipe, at: (path: string) => string): Promise<void> {
  const { model, calibration, evaluate, questions } = recipe;
  const inputs = [
    ...inputPaths({ models: [at(model)] }),
    ...inputPaths({ texts: [calibration, evaluate, questions] }).map(at),
  ];
  const target = await realPath(out);
  await refuseInputs(target, out, inputs);
  await checkWritable(target).catch((error) => {
    throw fileError(error, out);
  });
  await refuseForeignFiles(target, resultFiles);
}

/** The plug-ins of a grid. */
interface Axes {
  readonly comparisons: readonly Comparison[];
  readonly planners: readonly Planner[];
  readonly strategies: readonly MergeStrategy[];
  readonly repairs: readonly (Repair | undefined)[];
}

async function axesOf(recipe: Recipe, run: Run): Promise<Axes> {
  const make = async <P extends Planner | MergeStrategy | Repair>(kind: P["kind"], ids: readonly string[]) =>
    Promise.all(ids.map((id) => makePlugin<P>(kind, id, run.settings.of(kind))));
  const axes = {
    planners: await make<Planner>("planner", recipe.planners),
    strategies: await make<MergeStrategy>("strategy", recipe.strategies),
    repairs: await Promise.all(
      recipe.repairs.map((id) =>
        id === "none" ? undefined : makePlugin<Repair>("repair", id, run.settings.of("repair")),
      ),
    ),
    comparisons: await Promise.all(
      recipe.measures.map((measure) => makeComparison(measure, recipe.embeddings[measure], run)),
    ),
  };
  run.settings.assertUsed();
  return axes;
}

/** One combination of a grid that gives a row. */
interface Cell {
  readonly comparison: Comparison;
  /** Whether the planner looks at what it compares. */
  readonly looks: boolean;
  readonly planner: Planner;
  readonly strategy: MergeStrategy;
  readonly repair: Repair | undefined;
  readonly target: number;
}

/** The combinations that give rows of their own, those that share a plan one after the other. */
function cellsOf({ comparisons, planners, strategies, repairs }: Axes, targets: readonly number[]): Cell[] {
  return comparisons.flatMap((comparison, index) =>
    planners.flatMap((planner) => {
      const looks = planner.needs.includes("similarity");
      // A planner that looks at no measure plans the same under each.
      if (!looks && index > 0) return [];
      return targets.flatMap((target) =>
        strategies.flatMap((strategy) =>
          repairs
            .filter((repair) => judgesBy(planner) !== "repair" || repair)
            .map((repair) => ({ comparison, looks, planner, strategy, repair, target })),
        ),
      );
    }),
  );
}

/**
 * Runs the grid over one capture. Every plan, fold and figure is a task: cells that come to the same folded weights are measured once, and
 * what is found stays in `OUT.work`, so that the next run makes only what a changed recipe or changed code asks for.
 */
export async function ablate(recipeFile: string, out: string, run: Run): Promise<Ablation> {
  const recipe = await readRecipe(recipeFile);
  const at = (path: string) => (path.startsWith("hf:") ? path : resolve(dirname(recipeFile), path));
  await checkOutput(out, recipe, at);
  const { checkpoint, tokenizer } = await openModel(at(recipe.model), run);
  try {
    const { blocks, maxPositionEmbeddings: context } = checkpoint.architecture;
    const layerCount = blocks.length;
    for (const target of recipe.layers) checkTarget({ layerCount }, target, "--layers");
    const axes = await axesOf(recipe, run);
    const judged: EvaluationRequest = {
      texts: recipe.evaluate === undefined ? [] : [at(recipe.evaluate)],
      questions: recipe.questions && at(recipe.questions),
      window: recipe.window,
      maxTokens: recipe.maxTokens,
    };
    const evaluationSet = await readEvaluationSet(judged, context, tokenizer, run);
    const calibration = parseCalibration(recipe.calibration).map((source) => ({
      ...source,
      file: source.file && at(source.file),
    }));
    return await withTasks(
      out,
      { ...run, keepWork: true },
      async (tasks, folder) => {
        await checkSpace(
          tasks,
          { folder },
          { kept: [], passing: recipe.layers.map(expectedBytes(checkpoint).fold) },
        );
        const opened = { checkpoint, tokenizer, evaluationSet };
        const { bench } = await openWorkbench({ ...recipe, calibration }, opened, tasks, run);
        const { model } = bench;
        const text = bench.calibration!;
        const dense = await measureModel(model, evaluationSet, undefined, tasks);
        const capture = captureOf(bench, text.sequences);
        const matrices = await tasks.run(
          axes.comparisons.map((comparison) => similarityOf(capture, comparison, run)),
        );
        const cells = cellsOf(axes, recipe.layers);
        let done = 0;
        const distinct = new Set<string>();
        const row = async (cell: Cell): Promise<AblationCell> => {
          const { comparison, looks, planner, strategy, repair, target } = cell;
          const plan = await planOf(bench, cell, target);
          const { facts, quality } = await measuredFold(bench, { plan, strategy, repair }, false, null);
          distinct.add(facts.fingerprint);
          run.ctx.report?.({
            type: "progress",
            stage: "ablate",
            done: ++done,
            total: cells.length,
            unit: "cells",
          });
          return {
            measure: looks ? comparison.measure.id : null,
            planner: planner.id,
            strategy: strategy.id,
            repair: repair?.id ?? null,
            removed: layerCount - target,
            perplexity: quality.perplexity,
            perplexity_ratio:
              quality.perplexity === null || dense.perplexity === null
                ? null
                : quality.perplexity / dense.perplexity,
            accuracy: quality.accuracy,
            accuracy_stderr: quality.accuracy_stderr,
          };
        };
        const rows: AblationCell[] = [];
        for (const cell of cells) rows.push(await row(cell));
        const combinations =
          axes.comparisons.length *
          axes.planners.length *
          axes.strategies.length *
          axes.repairs.length *
          recipe.layers.length;
        const table = { combinations, cells: rows, distinct: distinct.size };
        const manifest = manifestOf(
          {
            command: "ablate",
            arguments: recipe,
            model: { name: modelName(recipe.model), sha256: model.digest },
            data: { calibration: text.facts, ...(await evaluationFacts(judged)) },
            plugins: pluginFacts(
              ...axes.planners,
              ...axes.strategies,
              ...axes.repairs,
              ...axes.comparisons.flatMap(({ measure, embedding }) => [measure, embedding]),
            ),
          },
          run,
        );
        const report = renderAblationReport({
          title: `Ablation on ${recipe.model}`,
          subtitle: `${rows.length} cells, ${distinct.size} distinct folded models`,
          cells: rows,
          dense: { accuracy: dense.accuracy },
          similarities: axes.comparisons.map(({ measure }, i) => ({
            measure: measure.id,
            matrix: matrixOf(matrices[i]),
          })),
          manifest: { ...manifest },
          chance: evaluationSet.questions && 1 / evaluationSet.questions[0].choices.length,
        });
        const files = new Map([
          ["ablation.json", jsonText({ recipe, model: model.digest, dense, ...table })],
          ["manifest.json", jsonText(manifest)],
          ["ablation.csv", ablationCsv(rows)],
          ["ablation.md", ablationMarkdown(rows)],
          ["report.html", report],
        ]);
        await addResultFiles(out, { folder }, run, files);
        return { ...table, tasks: tasks.counts };
      },
      { quiet: true },
    );
  } finally {
    await checkpoint.close();
  }
}
