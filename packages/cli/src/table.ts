import { type ReportRow, reportCells, reportHeadings } from "@layerfold/report";
import Table from "cli-table3";
import type { ResultRow } from "./results.js";

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
