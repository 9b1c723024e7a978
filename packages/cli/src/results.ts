import type { ReportRow } from "@layerfold/report";

/** A row of results.json: what the report shows, and what it cost. */
export interface ResultRow extends ReportRow {
  readonly seconds: number;
  /** Largest resident size of the process so far. */
  readonly peak_rss_bytes: number;
}
