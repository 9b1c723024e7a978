import { type ReportRow, reportCells, reportHeadings } from "@layerfold/report";
import Table from "cli-table3";

/** The one table: every fold beside its drop control. */
export function resultTable(rows: readonly ReportRow[]): string {
  const table = new Table({
    head: [...reportHeadings],
    colAligns: ["left", ...reportHeadings.slice(1).map(() => "right" as const)],
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) table.push(reportCells(row));
  return table.toString();
}
