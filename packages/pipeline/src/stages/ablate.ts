import type { AblationCell } from "@layerfold/report";
import { ablationCells } from "../grid/render-ablation.js";
import { runGrid } from "../grid/run-grid.js";
import { readAblationRecipe } from "../recipe/ablation-recipe.js";
import { asRun, type Run, type RunOptions } from "../run.js";

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

/**
 * Runs an ablation's recipe (see `readAblationRecipe`) over one capture. Every plan, fold and figure is a task: cells that come to the same
 * folded weights are measured once, and what is found stays in `OUT.work`, so that the next run makes only what a changed recipe or changed
 * code asks for.
 * @throws RECIPE_INVALID with line and column, and what `runGrid` throws
 */
export async function ablate(
  recipeFile: string,
  out: string,
  options: RunOptions | Run = {},
): Promise<Ablation> {
  const source = await readAblationRecipe(recipeFile);
  const { table, architecture, tasks } = await runGrid(source, { out, command: "ablate" }, asRun(options));
  const { combinations, distinct } = table;
  return { combinations, cells: ablationCells(table, architecture.blocks.length), distinct, tasks };
}
