import type { AblationCell } from "@layerfold/report";
import { stringify } from "csv-stringify/sync";
import { markdownTable } from "../markdown-table.js";

const columns = [
  "measure",
  "planner",
  "strategy",
  "repair",
  "removed",
  "perplexity",
  "perplexity_ratio",
  "accuracy",
  "accuracy_stderr",
] as const satisfies readonly (keyof AblationCell)[];

/** The grid as CSV with a header line, absent values empty; a name that a spreadsheet would compute, such as `=…`, stays text. */
export function ablationCsv(cells: readonly AblationCell[]): string {
  return stringify([...cells], { header: true, columns: [...columns], escape_formulas: true });
}

/** The same as a Markdown table, figures to four digits. */
export function ablationMarkdown(cells: readonly AblationCell[]): string {
  const show = (value: string | number | null) =>
    value === null
      ? "–"
      : typeof value === "number" && !Number.isInteger(value)
        ? value.toFixed(4)
        : `${value}`;
  return markdownTable(
    columns,
    cells.map((cell) => columns.map((column) => show(cell[column]))),
  );
}
