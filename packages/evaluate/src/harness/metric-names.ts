export type OutputType = "multiple_choice" | "loglikelihood" | "loglikelihood_rolling" | "generate_until";

/** How a metric's documents are summed up where a task does not say. */
export const metricDefaults: Readonly<
  Record<string, { readonly aggregation: string; readonly higher_is_better: boolean }>
> = {
  acc: { aggregation: "mean", higher_is_better: true },
  acc_norm: { aggregation: "mean", higher_is_better: true },
  acc_bytes: { aggregation: "mean", higher_is_better: true },
  acc_mutual_info: { aggregation: "mean", higher_is_better: true },
  exact_match: { aggregation: "mean", higher_is_better: true },
  brier_score: { aggregation: "brier_score", higher_is_better: false },
  perplexity: { aggregation: "perplexity", higher_is_better: false },
  word_perplexity: { aggregation: "weighted_perplexity", higher_is_better: false },
  byte_perplexity: { aggregation: "weighted_perplexity", higher_is_better: false },
  bits_per_byte: { aggregation: "bits_per_byte", higher_is_better: false },
};

export const aggregationNames: readonly string[] = [
  "mean",
  "nanmean",
  "median",
  "perplexity",
  "weighted_perplexity",
  "bits_per_byte",
  "brier_score",
];

const byType: Readonly<Record<OutputType, readonly string[]>> = {
  multiple_choice: ["acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "brier_score"],
  loglikelihood: ["perplexity", "acc"],
  loglikelihood_rolling: ["word_perplexity", "byte_perplexity", "bits_per_byte"],
  generate_until: ["exact_match"],
};

/** The metrics of an output type. @param byDefault - those alone that a task has which names none */
export function metricNames(type: OutputType, byDefault = false): readonly string[] {
  return byDefault && type === "multiple_choice" ? ["acc", "acc_norm"] : byType[type];
}
