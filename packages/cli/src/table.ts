import {
  judgedCells,
  type ResultRow,
  type TaskEvaluation,
  type TaskQuality,
  taskText,
} from "@layerfold/pipeline";
import { type ReportRow, reportCells, reportHeadings } from "@layerfold/report";
import Table from "cli-table3";

/** The one table: every fold beside its drop control and, where models were quantised, their sizes. */
export function resultTable(rows: readonly (ReportRow & Partial<ResultRow>)[]): string {
  const withSizes = rows.some(({ quantization }) => quantization);
  const headings = [...reportHeadings, ...(withSizes ? ["MiB", "smaller by"] : [])];
  const table = new Table({
    head: headings,
    colAligns: ["left", ...headings.slice(1).map(() => "right" as const)],
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) table.push([...reportCells(row), ...(withSizes ? sizeCells(row) : [])]);
  return table.toString();
}

function sizeCells({ tensor_bytes: bytes = 0, size_ratio: ratio = 0 }: Partial<ResultRow>): string[] {
  return [(bytes / 2 ** 20).toFixed(1), `${(ratio * 100).toFixed(1)} %`];
}

/** The same for a terminal; empty where there is nothing to compare. */
export function judgedTable(rows: readonly ResultRow[]): string {
  const cells = judgedCells(rows);
  return cells ? plainTable(cells.headings, cells.rows) : "";
}

/** What one model scores, a line for each text and task. */
export function evaluationTable(
  texts: readonly { readonly text: string; readonly perplexity: number; readonly tokens: number }[],
  tasks: readonly TaskQuality[],
): string {
  return plainTable(
    ["", "perplexity", "accuracy", "over"],
    [
      ...texts.map(({ text, perplexity, tokens }) => [text, perplexity.toFixed(4), "", `${tokens} tokens`]),
      ...tasks.map((task) => [
        task.task,
        task.perplexity === null ? "" : task.perplexity.toFixed(4),
        taskText(task),
        `${task.count} rows`,
      ]),
    ],
  );
}

/** What a model scores on tasks and groups, a line for each figure. */
export function taskTable({
  results: { results, "n-shot": shots, versions },
}: Pick<TaskEvaluation, "results">): string {
  const rows = Object.entries(results).flatMap(([name, found]) => {
    const figures = Object.entries(found).filter(([key]) => key.includes(",") && !key.includes("_stderr,"));
    return figures.map(([key, value]) => {
      const [metric, filter] = key.split(",");
      const error = found[`${metric}_stderr,${filter}`];
      const printed = Number(value).toFixed(4);
      return [
        name,
        `${versions[name] ?? ""}`,
        `${shots[name] ?? ""}`,
        filter === "none" ? metric : `${metric} (${filter})`,
        typeof error === "number" ? `${printed} ± ${error.toFixed(4)}` : printed,
        `${found.sample_len}`,
      ];
    });
  });
  return plainTable(["", "version", "shots", "figure", "value", "documents"], rows);
}

/** A table of texts, the first column to the left. */
export function plainTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const table = new Table({
    head: [...head],
    colAligns: ["left", ...head.slice(1).map(() => "right" as const)],
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) table.push([...row]);
  return table.toString();
}
