import Table from "cli-table3";
import type { ResultRow } from "./results.js";

const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
const orDash = (value: number | null, show: (value: number) => string) =>
  value === null ? "–" : show(value);

/** Perplexities and their ratios grow to many digits once a model is broken. */
function figure(value: number): string {
  if (value >= 1e5) return value.toExponential(1);
  return value >= 100 ? value.toFixed(0) : value.toFixed(3);
}

/** Cells of a result row as people read them; the same in the terminal, the README and the report. */
export function resultCells(row: ResultRow): string[] {
  return [
    row.label,
    `${row.removed_layers.length}`,
    percent(row.layer_ratio),
    percent(row.parameter_ratio),
    orDash(row.perplexity, figure),
    orDash(row.perplexity_ratio, (x) => `× ${figure(x)}`),
    orDash(row.kl_to_dense, (x) => x.toFixed(3)),
    orDash(
      row.accuracy,
      (x) => `${(x * 100).toFixed(1)} ± ${((row.accuracy_stderr ?? 0) * 100).toFixed(1)} %`,
    ),
  ];
}

export const resultHeadings = [
  "",
  "removed",
  "of layers",
  "of parameters",
  "perplexity",
  "÷ dense",
  "KL to dense",
  "accuracy",
] as const;

/** The one table: every fold beside its drop control. */
export function resultTable(rows: readonly ResultRow[]): string {
  const table = new Table({
    head: [...resultHeadings],
    colAligns: ["left", ...resultHeadings.slice(1).map(() => "right" as const)],
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) table.push(resultCells(row));
  return table.toString();
}
