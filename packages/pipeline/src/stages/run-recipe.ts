import type { AblationCell } from "@layerfold/report";
import { ablationCells } from "../grid/render-ablation.js";
import { type QualityTable, qualityTable } from "../grid/render-quality.js";
import { resultRows } from "../grid/render-results.js";
import { runGrid } from "../grid/run-grid.js";
import { type RecipeSource, readRecipe, recipeInCode } from "../recipe/read-recipe.js";
import type { Recipe } from "../recipe/recipe-schema.js";
import { asRun, type Run, type RunOptions } from "../run.js";
import type { CompressResult } from "./compress.js";

export interface RunRecipeOptions {
  /** Folder to write; default: the recipe's `output`. Where neither is given all is measured and nothing written. */
  readonly out?: string | undefined;
  /** Replace a folder that is not empty, if layerfold wrote all that is in it. */
  readonly force?: boolean | undefined;
}

export interface RecipeResult extends CompressResult {
  /** Of `report: ablation`. */
  readonly cells?: readonly AblationCell[];
  /** Of `report: quality`. */
  readonly quality?: QualityTable;
  /** The folder that was written. */
  readonly out?: string;
}

/**
 * Runs a recipe: a file (YAML, JSON, or the manifest of a run), one that was read, or one in code. A seed among the options goes before the
 * recipe's, and so do options of plug-ins.
 * @throws RECIPE_INVALID with line and column, GRID_EMPTY, GRID_TWICE, and what `compress` throws
 *
 * @example
 * ```ts
 * const { rows } = await runRecipe("recipe.yaml", { out: "./folded" }, { report: console.error });
 * ```
 */
export async function runRecipe(
  recipe: string | Recipe | RecipeSource,
  { out, force }: RunRecipeOptions = {},
  options: RunOptions | Run = {},
): Promise<RecipeResult> {
  const source = await sourceOf(recipe);
  const { seed } = source.recipe;
  const run = "ctx" in options ? options : asRun({ ...options, seed: options.seed ?? seed });
  const found = await runGrid(source, { out, force, command: "run" }, run);
  const { table, architecture, tasks, out: written } = found;
  const layerCount = architecture.blocks.length;
  const { report } = source.recipe;
  return {
    rows: resultRows(table, layerCount),
    plans: table.plans.map(({ plan }) => plan),
    notes: table.notes,
    tasks,
    ...(report === "ablation" && { cells: ablationCells(table, layerCount) }),
    ...(report === "quality" && { quality: qualityTable(table, layerCount, run) }),
    ...(written !== undefined && { out: written }),
  };
}

async function sourceOf(recipe: string | Recipe | RecipeSource): Promise<RecipeSource> {
  if (typeof recipe === "string") return readRecipe(recipe);
  return "recipe" in recipe ? recipe : recipeInCode(recipe);
}
