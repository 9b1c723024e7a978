import { join } from "node:path";
import type { Question } from "@layerfold/checkpoint";
import { keptLayer, type MergePlan } from "@layerfold/core";
import { renderReport } from "@layerfold/report";
import { judgedCells } from "../judged-cells.js";
import { type Manifest, modelName } from "../manifest.js";
import { jsonText } from "../outputs.js";
import type { ResultRow } from "../results.js";
import { similarityFile } from "../stages/similarity.js";
import type { Grid, GridRow, GridTable } from "./grid.js";

/** Rows of results.json. */
export function resultRows({ rows }: Pick<GridTable, "rows">, layerCount: number): ResultRow[] {
  const [dense] = rows;
  return rows.map((row) => resultRow(row, dense, layerCount));
}

/** Of the rows other than the fold itself. */
const suffixes = {
  dropped: "control",
  "dropped + repair": "dropped-repair",
  merged: "merged",
  "merged + repair": "merged-repair",
} as const;

/** What a row is called, and of which row it is the control. */
function rowNames({ name, cell }: GridRow): Pick<ResultRow, "id" | "label" | "method" | "control"> {
  if (name === "dense" || !cell) return { id: "dense", label: "dense", method: "dense", control: null };
  const { method, target } = cell;
  const id = `${method.id}-${target}`;
  if (name === "fold")
    return { id, label: `${method.id}, ${target} layers`, method: method.id, control: null };
  return {
    id: `${id}-${suffixes[name]}`,
    label: name === "dropped" ? "  merely dropped" : `  ${name}`,
    method: method.id,
    control: name === "dropped" ? id : null,
  };
}

function resultRow(row: GridRow, dense: GridRow, layerCount: number): ResultRow {
  const { scheme, plan, bytes, quality, cell } = row;
  const { id, label, method, control } = rowNames(row);
  const { texts, ...figures } = quality;
  const remaining = plan?.groups.length ?? layerCount;
  return {
    id: scheme === null ? id : `${id}-${scheme}`,
    label: scheme === null ? label : `  then ${scheme}`,
    method: scheme === null ? method : `${method} + ${scheme}`,
    planner: cell?.method.planner.id ?? null,
    strategy: row.strategy,
    repair: row.repair,
    control,
    quantization: scheme,
    tensor_bytes: bytes,
    size_ratio: 1 - bytes / dense.bytes,
    removed_layers: plan ? removedLayers(plan) : [],
    num_hidden_layers: remaining,
    layer_ratio: 1 - remaining / layerCount,
    parameter_ratio: row.parameterRatio,
    ...figures,
    perplexity_ratio:
      figures.perplexity === null
        ? null
        : figures.perplexity / (dense.quality.perplexity ?? figures.perplexity),
    texts: texts.map(({ text, perplexity }, i) => ({
      text,
      perplexity,
      perplexity_ratio: perplexity / dense.quality.texts[i].perplexity,
    })),
  };
}

/** Layers of the dense model that no longer stand alone. */
function removedLayers(plan: MergePlan): number[] {
  return plan.groups.flatMap((group) => {
    const kept = keptLayer(group) ?? group.layers[0];
    return group.layers.filter((layer) => layer !== kept);
  });
}

/** Where a cell's files stand: in a folder for its method where there are several, and for its depth. */
function placeOf(grid: Grid, { cell, scheme }: Pick<GridRow, "cell" | "scheme">): string {
  const { method, target } = cell!;
  return join(
    severalMethods(grid) ? method.id : "",
    severalDepths(grid) ? `layers-${target}` : "",
    scheme ?? "",
  );
}

const severalMethods = ({ groups }: Grid) => new Set(groups.flat().map(({ method }) => method.id)).size > 1;
const severalDepths = ({ groups }: Grid) => new Set(groups.flat().map(({ target }) => target)).size > 1;

/** Checkpoints that are kept, by their places in the output. */
export function resultCheckpoints(grid: Grid, { rows }: GridTable): ReadonlyMap<string, string> {
  return new Map(
    rows.flatMap((row) =>
      row.cell && row.directory !== undefined ? [[placeOf(grid, row), row.directory]] : [],
    ),
  );
}

/** Plans, results.json, similarity.json and report.html, by name. */
export function resultFiles(grid: Grid, table: GridTable, manifest: Manifest): ReadonlyMap<string, string> {
  const { recipe, bench } = grid;
  const { plans, notes, similarities } = table;
  const rows = resultRows(table, bench.checkpoint.architecture.blocks.length);
  const [picture] = similarities;
  const several = severalMethods(grid);
  const depths = severalDepths(grid);
  const methods = [...new Set(plans.map(({ method }) => method.id))];
  return new Map([
    ...plans.map(({ method, plan }): [string, string] => [
      join(several ? method.id : "", depths ? `plan-${plan.groups.length}.json` : "plan.json"),
      jsonText(plan),
    ]),
    ...(picture
      ? [["similarity.json", jsonText(similarityFile(picture.matrix, picture.comparison))] as const]
      : []),
    ["results.json", jsonText({ rows, notes })],
    ["manifest.json", jsonText(manifest)],
    [
      "report.html",
      renderReport({
        title: `${methods.join(", ")} on ${modelName(recipe.model)}`,
        rows,
        similarity: picture && { measure: picture.comparison.measure.id, matrix: picture.matrix },
        judged: judgedCells(rows),
        plans: plans.map(({ method, plan }) => ({
          label: `${several ? `${method.id}, ` : ""}${plan.groups.length} layers`,
          plan,
        })),
        chance: bench.evaluationSet.questions && meanChance(bench.evaluationSet.questions),
        manifest: { ...manifest },
        notes,
      }),
    ],
  ]);
}

function meanChance(questions: readonly Question[]): number {
  return questions.reduce((sum, q) => sum + 1 / q.choices.length, 0) / questions.length;
}
