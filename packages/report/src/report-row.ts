/** One measured model. Ratios are shares removed, 0 … 1; tied weights are counted once. What was not measured is null. */
export interface ReportRow {
  readonly id: string;
  /** For people. */
  readonly label: string;
  readonly method: string;
  readonly planner: string | null;
  readonly strategy: string | null;
  readonly repair: string | null;
  /** Layers of the dense model that no longer stand alone: all of a group but the layer whose place it takes. */
  readonly removed_layers: readonly number[];
  readonly num_hidden_layers: number;
  readonly layer_ratio: number;
  readonly parameter_ratio: number;
  readonly perplexity: number | null;
  readonly perplexity_ratio: number | null;
  /** Mean nats per token, KL(dense ‖ this). */
  readonly kl_to_dense: number | null;
  readonly accuracy: number | null;
  readonly accuracy_stderr: number | null;
  /** Id of the row that this row is the control of. */
  readonly control: string | null;
}

export function percent(share: number, digits = 1): string {
  return `${(share * 100).toFixed(digits)} %`;
}

/** Perplexities and their ratios grow to many digits once a model is broken. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (value >= 1e5) return value.toExponential(1);
  return value >= 100 ? value.toFixed(0) : value.toFixed(3);
}

/** A measured value, or a dash where there is none. */
export function orDash(value: number | null, show: (value: number) => string): string {
  return value === null ? "–" : show(value);
}

export function accuracyText({ accuracy, accuracy_stderr }: ReportRow): string {
  return orDash(
    accuracy,
    (a) =>
      `${(a * 100).toFixed(1)}${accuracy_stderr === null ? "" : ` ± ${(accuracy_stderr * 100).toFixed(1)}`} %`,
  );
}

/** Headings of `reportCells`; the first column names the model. */
export const reportHeadings = [
  "",
  "removed",
  "of layers",
  "of parameters",
  "perplexity",
  "÷ dense",
  "KL to dense",
  "accuracy",
] as const;

/** A row's cells as people read them. */
export function reportCells(row: ReportRow): string[] {
  return [
    row.label,
    `${row.removed_layers.length}`,
    percent(row.layer_ratio),
    percent(row.parameter_ratio),
    orDash(row.perplexity, figure),
    orDash(row.perplexity_ratio, (x) => `× ${figure(x)}`),
    orDash(row.kl_to_dense, figure),
    accuracyText(row),
  ];
}
