import { type AblationCell, renderAblationReport } from "@layerfold/report";
import type { Manifest } from "../manifest.js";
import { jsonText } from "../outputs.js";
import { ablationCsv, ablationMarkdown } from "./ablation-table.js";
import type { Grid, GridTable } from "./grid.js";

/** Names of all that `ablationFiles` gives. */
export const ablationNames = ["ablation.json", "manifest.json", "ablation.csv", "ablation.md", "report.html"];

/** A cell for every row but the dense model's. */
export function ablationCells({ rows }: Pick<GridTable, "rows">, layerCount: number): AblationCell[] {
  const [{ quality: dense }] = rows;
  return rows.flatMap(({ cell, strategy, repair, quality }) => {
    if (!cell) return [];
    const { method, target } = cell;
    return {
      measure: method.looks ? method.comparison.measure.id : null,
      planner: method.planner.id,
      strategy: strategy!,
      repair,
      removed: layerCount - target,
      perplexity: quality.perplexity,
      perplexity_ratio:
        quality.perplexity === null || dense.perplexity === null
          ? null
          : quality.perplexity / dense.perplexity,
      accuracy: quality.accuracy,
      accuracy_stderr: quality.accuracy_stderr,
    };
  });
}

/** ablation.json, .csv and .md, and report.html, by name. */
export function ablationFiles(
  { bench }: Grid,
  table: GridTable,
  manifest: Manifest,
): ReadonlyMap<string, string> {
  const { combinations, distinct, similarities, rows } = table;
  const { checkpoint, evaluationSet, model } = bench;
  const cells = ablationCells(table, checkpoint.architecture.blocks.length);
  const [{ quality: dense }] = rows;
  const { recipe } = manifest;
  return new Map([
    ["ablation.json", jsonText({ recipe, model: model.digest, dense, combinations, cells, distinct })],
    ["manifest.json", jsonText(manifest)],
    ["ablation.csv", ablationCsv(cells)],
    ["ablation.md", ablationMarkdown(cells)],
    [
      "report.html",
      renderAblationReport({
        title: `Ablation on ${manifest.model?.name}`,
        subtitle: `${cells.length} cells, ${distinct} distinct folded models`,
        cells,
        dense: { accuracy: dense.accuracy },
        similarities: similarities.map(({ comparison, matrix }) => ({
          measure: comparison.measure.id,
          matrix,
        })),
        manifest: { ...manifest },
        chance: evaluationSet.questions && 1 / evaluationSet.questions[0].choices.length,
      }),
    ],
  ]);
}
