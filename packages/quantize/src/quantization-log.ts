import { stringify } from "csv-stringify/sync";
import type { QuantizationRecord } from "./quantize-layers.js";

const columns = ["layer", "module", "bits", "groupSize", "loss", "relativeLoss", "damping"] as const;

/**
 * The records of a quantisation as CSV with a header line; an absent value is an empty field, a name that a spreadsheet would compute is text.
 * Without the seconds, so that the same again gives the same file.
 */
export function logCsv(log: readonly QuantizationRecord[]): string {
  return stringify([...log], { header: true, columns: [...columns], escape_formulas: true });
}
