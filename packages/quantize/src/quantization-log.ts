import type { QuantizationRecord } from "./quantize-layers.js";

const columns = [
  "layer",
  "module",
  "bits",
  "groupSize",
  "loss",
  "relativeLoss",
  "damping",
  "seconds",
] as const;

/** The records of a quantisation as CSV with a header line; an absent value is an empty field. */
export function logCsv(log: readonly QuantizationRecord[]): string {
  const lines = log.map((record) => columns.map((column) => record[column] ?? "").join(","));
  return `${[columns.join(","), ...lines].join("\n")}\n`;
}
