import { rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { parsePooling } from "@layerfold/capture";
import { openCheckpoint, readTextFile } from "@layerfold/checkpoint";
import {
  LayerfoldError,
  type Matrix,
  type MergeStrategy,
  type Planner,
  type Repair,
  z,
} from "@layerfold/core";
import {
  addMadeFile,
  checkWritable,
  fileError,
  realPath,
  refuseForeignFiles,
  refuseInputs,
  scratchFolder,
} from "@layerfold/disk";
import { checkTarget } from "@layerfold/merge";
import { type AblationCell, renderAblationReport } from "@layerfold/report";
import { parse } from "yaml";
import { ablationCsv, ablationMarkdown } from "./ablation-table.js";
import { readCalibration } from "./calibration.js";
import { measureQuality, type Quality } from "./evaluation.js";
import { captureCheckpoint, gatherEvidence, judgesBy } from "./evidence.js";
import { foldModel } from "./fold.js";
import { openModel } from "./inputs.js";
import { holdApart, type JudgementRequest, judgementFacts, readJudgement } from "./judgement.js";
import { manifestOf, modelName } from "./manifest.js";
import { inputPaths, jsonText } from "./outputs.js";
import { makePlugin, pluginFact, pluginFacts } from "./registry.js";
import type { Run } from "./run.js";
import { type Comparison, makeComparison } from "./similarity.js";
import { parseCalibration } from "./text-source.js";
import { keptResults } from "./unfinished.js";

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
  /** Of these, how many an earlier run had measured already. */
  readonly resumed: number;
}

/** What is kept of a folded model that was measured. */
interface Measured {
  /** Fingerprint of the folded checkpoint. */
  readonly weights: string;
  readonly quality: Quality;
}

async function fingerprintOf(directory: string): Promise<string> {
  const folded = await openCheckpoint(directory);
  try {
    return await folded.fingerprint();
  } finally {
    await folded.close();
  }
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

/**
 * Runs the grid over one capture. Cells that come to the same folded weights are measured once; what is measured is kept in `OUT/measured`, so
 * that an interrupted grid goes on where it stopped.
 */
export async function ablate(recipeFile: string, out: string, run: Run): Promise<Ablation> {
  const recipe = await readRecipe(recipeFile);
  const at = (path: string) => (path.startsWith("hf:") ? path : resolve(dirname(recipeFile), path));
  await checkOutput(out, recipe, at);
  const { checkpoint, tokenizer } = await openModel(at(recipe.model), run);
  const quiet = { ...run, ctx: { ...run.ctx, report: undefined } };
  try {
    const layerCount = checkpoint.architecture.blocks.length;
    for (const target of recipe.layers) checkTarget({ layerCount }, target, "--layers");
    const make = async <P extends Planner | MergeStrategy | Repair>(
      kind: P["kind"],
      ids: readonly string[],
    ) => Promise.all(ids.map((id) => makePlugin<P>(kind, id, run.settings.of(kind))));
    const planners = await make<Planner>("planner", recipe.planners);
    const strategies = await make<MergeStrategy>("strategy", recipe.strategies);
    const repairs = await Promise.all(
      recipe.repairs.map((id) =>
        id === "none" ? undefined : makePlugin<Repair>("repair", id, run.settings.of("repair")),
      ),
    );
    const comparisons: Comparison[] = [];
    for (const measure of recipe.measures) {
      comparisons.push(await makeComparison(measure, recipe.embeddings[measure], run));
    }
    run.settings.assertUsed();

    const context = checkpoint.architecture.maxPositionEmbeddings;
    const { window } = recipe;
    const sources = parseCalibration(recipe.calibration).map((source) => ({
      ...source,
      file: source.file && at(source.file),
    }));
    const given = await readCalibration(sources, { checkpoint, tokenizer }, recipe, run);
    const judged: JudgementRequest = {
      texts: recipe.evaluate === undefined ? [] : [at(recipe.evaluate)],
      questions: recipe.questions && at(recipe.questions),
      window,
      maxTokens: recipe.maxTokens,
    };
    const judgement = await readJudgement(judged, context, tokenizer, run);
    const { calibration } = holdApart(given, judgement, false);
    const model = await checkpoint.fingerprint();
    const data = await judgementFacts(judged);

    let resumed = 0;
    const measured = new Map<string, Promise<Measured>>();
    /** By weights: different plans and strategies can come to the same model. */
    const byWeights = new Map<string, Quality>();
    const limits = { window, max: recipe.maxTokens };
    const known = keptResults(join(out, "measured"), [model, calibration.facts, data, limits, run.seed]);
    /** Measures a folded model, or takes what an earlier cell or run found. */
    const qualityOf = (facts: unknown, fold: (directory: string) => Promise<unknown>) => {
      const key = JSON.stringify(facts);
      const value = measured.get(key) ?? foundOrMeasured(facts, fold);
      measured.set(key, value);
      return value;
    };
    const foundOrMeasured = async (facts: unknown, fold: (directory: string) => Promise<unknown>) => {
      const found = await known(facts, () => measure(fold));
      if (!byWeights.has(found.weights)) resumed++;
      byWeights.set(found.weights, found.quality);
      return found;
    };
    const measure = async (fold: (directory: string) => Promise<unknown>): Promise<Measured> => {
      const scratch = await scratchFolder("fold", out);
      try {
        const directory = join(scratch, "model");
        await fold(directory);
        const weights = await fingerprintOf(directory);
        const quality =
          byWeights.get(weights) ?? (await measureQuality(directory, judgement, undefined, quiet));
        byWeights.set(weights, quality);
        return { weights, quality };
      } finally {
        await rm(scratch, { recursive: true, force: true });
      }
    };

    // What is odd about the questions is said once: the folds are asked the same.
    const dense = await measureQuality(checkpoint.directory, judgement, undefined, run);
    const pooling = parsePooling(recipe.pooling);
    const activations = await captureCheckpoint(checkpoint, calibration.sequences, pooling, run);
    const similarities: { measure: string; matrix: Matrix }[] = [];
    const cells: AblationCell[] = [];
    const ways = strategies.flatMap((strategy) => repairs.map((repair) => ({ strategy, repair })));
    /** The ways to carry out a planner's plans, in sets that come to the same plan. */
    const waysOf = (planner: Planner) => {
      const judges = judgesBy(planner);
      if (!judges) return [ways];
      return ways.filter(({ repair }) => judges === "strategy" || repair).map((way) => [way]);
    };
    const total = planners.reduce((sum, planner) => {
      const measures = planner.needs.includes("similarity") ? comparisons.length : 1;
      return sum + waysOf(planner).flat().length * recipe.layers.length * measures;
    }, 0);

    for (const [index, comparison] of comparisons.entries()) {
      const similarity = await comparison.compare(activations.layers, quiet.ctx);
      similarities.push({ measure: comparison.measure.id, matrix: similarity });
      for (const planner of planners) {
        const looks = planner.needs.includes("similarity");
        // A planner that looks at no measure plans the same under each.
        if (!looks && index > 0) continue;
        for (const together of waysOf(planner)) {
          const { evidence, close } = await gatherEvidence(
            planner,
            { checkpoint, comparison, similarity, activations, calibration, pooling, fold: together[0] },
            quiet,
          );
          try {
            for (const target of recipe.layers) {
              const plan = await planner.plan(evidence, target, quiet.ctx);
              for (const { strategy, repair } of together) {
                const { quality } = await qualityOf(
                  [plan.groups, pluginFact(strategy), repair && pluginFact(repair)],
                  (out) => foldModel(checkpoint, { plan, strategy, repair, calibration, out }, quiet),
                );
                cells.push({
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
                });
                run.ctx.report?.({
                  type: "progress",
                  stage: "ablate",
                  done: cells.length,
                  total,
                  unit: "cells",
                });
              }
            }
          } finally {
            await close();
          }
        }
      }
    }

    const combinations = comparisons.length * planners.length * ways.length * recipe.layers.length;
    const table = { combinations, cells, distinct: byWeights.size };
    await addMadeFile(out, "ablation.json", jsonText({ recipe, model, dense, ...table }));
    const manifest = manifestOf(
      {
        command: "ablate",
        arguments: recipe,
        model: { name: modelName(recipe.model), sha256: model },
        data: { calibration: calibration.facts, ...data },
        plugins: pluginFacts(
          ...planners,
          ...strategies,
          ...repairs,
          ...comparisons.flatMap(({ measure, embedding }) => [measure, embedding]),
        ),
      },
      run,
    );
    await addMadeFile(out, "manifest.json", jsonText(manifest));
    await addMadeFile(out, "ablation.csv", ablationCsv(cells));
    await addMadeFile(out, "ablation.md", ablationMarkdown(cells));
    await addMadeFile(
      out,
      "report.html",
      renderAblationReport({
        title: `Ablation on ${recipe.model}`,
        subtitle: `${cells.length} cells, ${byWeights.size} distinct folded models`,
        cells,
        dense: { accuracy: dense.accuracy },
        similarities,
        manifest: { ...manifest },
        chance: judgement.questions && 1 / judgement.questions[0].choices.length,
      }),
    );
    return { ...table, resumed };
  } finally {
    await checkpoint.close();
  }
}
