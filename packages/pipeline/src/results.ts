import type { ReportRow } from "@layerfold/report";
import type { TaskQuality } from "./evaluation/task-quality.js";

/** A row of results.json: what the report shows, and more. */
export interface ResultRow extends ReportRow {
  /** Of every text that was judged on. */
  readonly texts: readonly {
    readonly text: string;
    readonly perplexity: number;
    /** To the dense model. */
    readonly perplexity_ratio: number;
  }[];
  readonly tasks: readonly TaskQuality[];
  /** Scheme by which the weights were quantised; null: not at all. */
  readonly quantization: string | null;
  /** Of the checkpoint on disk. */
  readonly tensor_bytes: number;
  /** Share of the dense model's bytes removed, by folding and quantising together. */
  readonly size_ratio: number;
}
