import { isLayerfoldError, type Matrix, type MergePlan } from "@layerfold/core";
import type { QuantizationScheme } from "@layerfold/quantize";
import { describeTrials, sizedCalibration } from "../calibration/calibration-size.js";
import { describeCalibration } from "../calibration/read-calibration.js";
import { seesActivations } from "../evidence/judges-by.js";
import { spreadSequences } from "../evidence/spread-sequences.js";
import { allInOrder, inOrder } from "../in-order.js";
import { shortName } from "../inputs/text-source.js";
import { workbenchRequest } from "../recipe/recipe-parts.js";
import type { Recipe, RowName } from "../recipe/recipe-schema.js";
import type { Run } from "../run.js";
import { measureModel, type Quality } from "../stages/measure.js";
import { measuredFold } from "../stages/measured-fold.js";
import { type OpenedModel, openWorkbench } from "../stages/open-workbench.js";
import type { Comparison } from "../stages/similarity.js";
import { captureOf, type Fold, foldOf, planOf, similarityOf, type Workbench } from "../stages/workbench.js";
import { runTask, type TaskRunner } from "../task-runner.js";
import { givenText } from "../tasks/given-text.js";
import { quantizeTask } from "../tasks/quantize.js";
import { schemeReference } from "../tasks/scheme-reference.js";
import { matrixOf } from "../tasks/similarity.js";
import { bytesOf, type ModelInput } from "../tasks/stored-model.js";
import type { GridCell, GridMethod } from "./cells.js";
import { chosenVariants, type GridInputs, rowsOfRecipe } from "./grid-inputs.js";
import { mergedGroups } from "./variants.js";

/** A model that was measured: the dense one, or a plan carried out in one way; quantised or not. */
export interface GridRow {
  readonly name: RowName | "dense";
  /** Whether the method itself carries its plan out so. */
  readonly own: boolean;
  /** Absent of the dense model. */
  readonly cell?: GridCell;
  readonly plan?: MergePlan;
  readonly strategy: string | null;
  readonly repair: string | null;
  /** Scheme by which it was quantised too. */
  readonly scheme: string | null;
  /** Groups in which two or more layers have weight. */
  readonly mergedGroups: number;
  /** Share of the dense model's parameters removed. */
  readonly parameterRatio: number;
  readonly bytes: number;
  /** That folding and repairing took, and the largest resident size meanwhile. */
  readonly seconds: number;
  readonly peakRssBytes: number;
  readonly quality: Quality;
  /** Folder of the checkpoint, where it is kept. */
  readonly directory?: string;
}

/** A plan of a grid. */
export interface GridPlan extends GridCell {
  readonly plan: MergePlan;
  /** That the planner took; what was found before is not measured anew. */
  readonly seconds: number;
}

/** Everything that a grid has found, in the order of its recipe. */
export interface GridTable {
  readonly rows: readonly GridRow[];
  readonly plans: readonly GridPlan[];
  readonly notes: readonly string[];
  readonly similarities: readonly { readonly comparison: Comparison; readonly matrix: Matrix }[];
  readonly combinations: number;
  /** Folded models that were measured: identical ones once. */
  readonly distinct: number;
}

/** What is asked of a grid beside its rows. */
export interface GridWishes {
  /** Folded checkpoints stay in the store. */
  readonly checkpoints: boolean;
  /** How alike layers are: by the first method's measure, or by each. */
  readonly pictures: "first" | "all" | "none";
  /** Measure how far every model is from the dense one. */
  readonly divergence: boolean;
  /** Hears how many rows are done. */
  readonly counted?: boolean;
  /** Called with what there is once a plan is carried out. */
  readonly grown?: (table: GridTable) => Promise<void>;
}

/** A grid whose texts are read. */
export interface Grid extends GridInputs {
  readonly recipe: Recipe;
  readonly bench: Workbench;
  readonly notes: string[];
}

/** Of the calibration text, where only the report looks at what the layers do to it: the estimators' time grows with the samples' square. */
const picturedTokens = 16_384;

/** Reads the calibration text. @throws as `openWorkbench` */
export async function openGrid(
  recipe: Recipe,
  opened: Pick<OpenedModel, "checkpoint" | "tokenizer">,
  inputs: GridInputs,
  tasks: TaskRunner,
  run: Run,
): Promise<Grid> {
  const { evaluationSet, answers } = inputs;
  const request = workbenchRequest(recipe);
  const given = { ...opened, evaluationSet, ...(answers && { answers }) };
  const { bench, separated } = await openWorkbench(request, given, tasks, run);
  const notes: string[] = [];
  if (bench.calibration) notes.push(`Calibration saw ${describeCalibration(bench.calibration)}.`);
  if (request.calibrationQuestions !== undefined)
    notes.push(`The planner weighed the answers of ${shortName(request.calibrationQuestions)}.`);
  const grid = { ...inputs, recipe, bench, notes };
  if (!evaluationSet.texts.length && !evaluationSet.questions && !evaluationSet.tasks.length) {
    warn(grid, "NOT_MEASURED", "No --evaluate text, no --questions and no --task: quality was not measured.");
  }
  if (separated) {
    notes.push(...separated.excluded);
    for (const message of separated.contaminated) warn(grid, "CONTAMINATED", message);
    if (separated.unseen.length > 0) notes.push(`New to it: ${separated.unseen.join(", ")}.`);
  }
  return grid;
}

function warn({ notes, bench }: Pick<Grid, "notes" | "bench">, code: string, message: string): void {
  notes.push(message);
  bench.run.ctx.report?.({ type: "diagnostic", severity: "warning", code, message });
}

/** The plans of a group of cells. */
export async function plansOf(
  { bench }: Pick<Grid, "bench">,
  group: readonly GridCell[],
): Promise<GridPlan[]> {
  const layerCount = bench.checkpoint.architecture.blocks.length;
  const plans: GridPlan[] = [];
  for (const cell of group) {
    const { method, target } = cell;
    say(bench, `${method.id}: ${layerCount} → ${target} layers`);
    const startedAt = performance.now();
    const plan = await planOf(bench, method, target, method.recallWeight);
    plans.push({ ...cell, plan, seconds: (performance.now() - startedAt) / 1000 });
  }
  return plans;
}

function say({ run }: Pick<Workbench, "run">, message: string): void {
  run.ctx.report?.({ type: "status", message });
}

/** Plans, folds and measures every cell, as many side by side as there are workers. What is done once, an earlier run's work too, is not done again. */
export async function gridTable(grid: Grid, wishes: GridWishes): Promise<GridTable> {
  const { bench, groups, combinations, notes, recipe } = grid;
  const { tasks, run } = bench;
  const similarities = await picturesOf(grid, wishes.pictures);
  const rows: GridRow[] = [];
  const plans: GridPlan[] = [];
  const sizes: string[] = [];
  const distinct = new Set<string>();
  const table = (): GridTable => ({
    rows: [...rows],
    plans: [...plans],
    notes: [...notes, ...sizes],
    similarities,
    combinations,
    distinct: distinct.size,
  });
  const total = groups.flat().length * rowsOfRecipe(recipe).length;
  let done = 0;
  const counted = () => {
    if (wishes.counted) {
      run.ctx.report?.({ type: "progress", stage: "grid", done: ++done, total, unit: "rows" });
    }
  };
  const pieces: (() => Promise<TablePart>)[] = [async () => ({ rows: await denseRows(grid) })];
  for (const group of groups) {
    // Together, since a planner may find several depths at once.
    let planned: Promise<GridPlan[]> | undefined;
    for (const index of group.keys()) {
      pieces.push(async () => {
        planned ??= plansOf(grid, group);
        return planPart(grid, (await planned)[index], wishes, counted);
      });
    }
  }
  try {
    for await (const part of inOrder(pieces, tasks.width)) {
      rows.push(...part.rows);
      sizes.push(...(part.sizes ?? []));
      for (const fingerprint of part.fingerprints ?? []) distinct.add(fingerprint);
      if (!part.plan) continue;
      plans.push(part.plan);
      await wishes.grown?.(table());
    }
  } catch (error) {
    tasks.stop();
    throw error;
  }
  return table();
}

/** What one plan, or the dense model, gives to a table. */
interface TablePart {
  readonly rows: readonly GridRow[];
  readonly plan?: GridPlan;
  /** What was found of how much calibration text the repairs gain by. */
  readonly sizes?: readonly string[];
  readonly fingerprints?: readonly string[];
}

async function denseRows(grid: Grid): Promise<GridRow[]> {
  const { bench } = grid;
  const { checkpoint, model, evaluationSet, tasks } = bench;
  const dense: GridRow = {
    name: "dense",
    ...{ own: false, strategy: null, repair: null, scheme: null },
    ...{ mergedGroups: 0, parameterRatio: 0, seconds: 0, peakRssBytes: 0 },
    bytes: bytesOf(checkpoint),
    quality: await measureModel(model, evaluationSet, undefined, tasks, bench.run.execution),
  };
  return [dense, ...(await quantizedRows(grid, dense, model))];
}

async function planPart(
  grid: Grid,
  plan: GridPlan,
  wishes: GridWishes,
  counted: () => void,
): Promise<TablePart> {
  const variants = chosenVariants(grid.recipe, { ...plan.method, plan: plan.plan });
  const pieces = variants.map((variant) => async () => {
    const part = await variantPart(grid, plan, variant, wishes);
    counted();
    return part;
  });
  const found = await allInOrder(pieces, grid.bench.tasks.width);
  return {
    plan,
    rows: found.flatMap(({ rows }) => rows),
    sizes: found.flatMap(({ sizes = [] }) => sizes),
    fingerprints: found.flatMap(({ fingerprints = [] }) => fingerprints),
  };
}

/** A plan carried out in one way. */
async function variantPart(
  grid: Grid,
  { method, target, plan }: GridPlan,
  variant: ReturnType<typeof chosenVariants>[number],
  wishes: GridWishes,
): Promise<TablePart> {
  const { bench } = grid;
  const cell = { method, target };
  const sizes: string[] = [];
  const fold: Fold = { ...variant, calibration: await sizedFor(grid, cell, variant, sizes) };
  const task = foldOf(bench, fold);
  const isFold = variant.name === "fold";
  const { facts, quality } = await measuredFold(
    bench,
    fold,
    isFold && (wishes.checkpoints || grid.schemes.length > 0),
    wishes.divergence ? bench.model : null,
  );
  const row: GridRow = {
    ...{ name: variant.name, own: variant.own, cell, plan },
    strategy: variant.strategy.id,
    repair: variant.repair?.id ?? null,
    scheme: null,
    mergedGroups: mergedGroups(variant),
    parameterRatio: facts.parameter_ratio,
    bytes: facts.tensor_bytes,
    ...{ seconds: facts.seconds, peakRssBytes: facts.peak_rss_bytes, quality },
    ...(wishes.checkpoints && isFold && { directory: (await runTask(bench.tasks, task)).directory }),
  };
  const rows = isFold ? [row, ...(await quantizedRows(grid, row, task))] : [row];
  return { rows, sizes, fingerprints: [facts.fingerprint] };
}

/** How alike the layers are, for a report. */
async function picturesOf(grid: Grid, wanted: GridWishes["pictures"]): Promise<GridTable["similarities"]> {
  const { bench, groups } = grid;
  const { calibration, tasks, run } = bench;
  if (!calibration || wanted === "none") return [];
  if (wanted === "first") return firstPicture(grid, groups.flat()[0].method);
  const different = new Map<string, Comparison>();
  for (const comparison of grid.comparisons) {
    const { measure, embedding } = comparison;
    const name = JSON.stringify([measure.id, measure.options, embedding.id, embedding.options]);
    if (!different.has(name)) different.set(name, comparison);
  }
  const capture = captureOf(bench, calibration.sequences);
  const comparisons = [...different.values()];
  const matrices = await tasks.run(comparisons.map((comparison) => similarityOf(capture, comparison, run)));
  return comparisons.map((comparison, i) => ({ comparison, matrix: matrixOf(matrices[i]) }));
}

async function firstPicture(grid: Grid, method: GridMethod): Promise<GridTable["similarities"]> {
  const { bench } = grid;
  const { sequences } = bench.calibration!;
  const { planner, comparison, looks } = method;
  const seen = seesActivations(planner) ? sequences : spreadSequences(sequences, picturedTokens);
  try {
    const task = similarityOf(captureOf(bench, seen), comparison, bench.run);
    return [{ comparison, matrix: matrixOf(await runTask(bench.tasks, task)) }];
  } catch (error) {
    if (looks || !isLayerfoldError(error) || error.fault !== "input") throw error;
    warn(grid, "NOT_PICTURED", `The report has no picture of the layers' similarity: ${error.message}.`);
    return [];
  }
}

/** The model of a row as each scheme quantises it. */
async function quantizedRows(grid: Grid, of: GridRow, model: ModelInput): Promise<GridRow[]> {
  const { bench, schemes } = grid;
  const rows: GridRow[] = [];
  for (const scheme of schemes) {
    const task = quantizationOf(grid, scheme, model);
    const { directory, tensorBytes } = await runTask(bench.tasks, task);
    const quality = await measureModel(
      task,
      bench.evaluationSet,
      bench.model,
      bench.tasks,
      bench.run.execution,
    );
    const { directory: kept, ...row } = of;
    rows.push({
      ...row,
      scheme: scheme.name,
      bytes: tensorBytes,
      quality,
      ...(kept !== undefined && { directory }),
    });
  }
  return rows;
}

function quantizationOf({ recipe, bench }: Grid, scheme: QuantizationScheme, model: ModelInput) {
  const { calibration, run } = bench;
  const { embedding_bits: bits } = recipe;
  return quantizeTask(
    {
      scheme: schemeReference(scheme),
      embedding_bits: bits ?? null,
      overrides: [],
      reused_layers: null,
      seed: run.seed,
    },
    { model, text: calibration && givenText(calibration.sequences), reuse: undefined, scales: undefined },
  );
}

/** The calibration that a fold's repair sees. */
async function sizedFor(
  { bench, recipe, groups }: Grid,
  { method }: GridCell,
  { name, plan, strategy, repair }: Fold & { readonly name: RowName },
  sizes: string[],
): Promise<Workbench["calibration"]> {
  const { calibration, model, tasks, run } = bench;
  if (workbenchRequest(recipe).calibrationTokens !== "auto" || !repair || !calibration) return calibration;
  const found = await sizedCalibration(model, { plan, strategy, repair }, calibration, {
    tasks,
    seed: run.seed,
  });
  const whose = [
    ...(groups.length > 1 ? [method.id] : []),
    `${plan.groups.length} layers`,
    ...(name === "fold" ? [] : [name]),
  ];
  sizes.push(`${whose.join(", ")}, ${describeTrials(found)}`);
  say(bench, describeTrials(found));
  return found.calibration;
}
