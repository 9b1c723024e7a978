import type { RunContext } from "@layerfold/core";
import { type AskedModel, type BenchmarkScore, scoreBenchmark } from "@layerfold/evaluate";
import type { EvaluationSet, EvaluationTask } from "./evaluation-set.js";

/** Accuracies and standard errors by the names of lm-evaluation-harness; null where a task has none. */
export interface TaskQuality {
  readonly task: string;
  readonly count: number;
  readonly acc: number | null;
  readonly acc_stderr: number | null;
  readonly acc_norm: number | null;
  readonly acc_norm_stderr: number | null;
  /** Of last words. */
  readonly perplexity: number | null;
  /** What else the task measures, by `METRIC,FILTER`. */
  readonly figures?: Readonly<Record<string, number>>;
}

/**
 * Asks a benchmark.
 * @param endTokens - that end an answer, where answers are generated
 * @returns with each document's chosen answer, where there are choices
 */
export async function taskQuality(
  model: AskedModel,
  { tokenizer, contextLength }: Pick<EvaluationSet, "tokenizer" | "contextLength">,
  { name, benchmark }: EvaluationTask,
  ctx: RunContext,
  endTokens: readonly number[] = [],
): Promise<{ readonly quality: TaskQuality; readonly chosen?: BenchmarkScore["chosen"] }> {
  const { count, figures, chosen } = await scoreBenchmark(
    model,
    tokenizer,
    benchmark,
    { contextLength, name, endTokens },
    ctx,
  );
  const { "acc,none": acc, "acc_norm,none": normed, "perplexity,none": perplexity, ...others } = figures;
  const quality = {
    task: name,
    count,
    acc: acc?.value ?? null,
    acc_stderr: acc ? (acc.stderr ?? 0) : null,
    acc_norm: normed?.value ?? null,
    acc_norm_stderr: normed ? (normed.stderr ?? 0) : null,
    perplexity: perplexity?.value ?? null,
    ...(Object.keys(others).length > 0 && {
      figures: Object.fromEntries(Object.entries(others).map(([key, { value }]) => [key, value])),
    }),
  };
  return { quality, ...(chosen && { chosen }) };
}
