import type { LanguageModel, RunContext } from "@layerfold/core";
import { type BenchmarkScore, scoreBenchmark } from "@layerfold/evaluate";
import type { EvaluationSet, EvaluationTask } from "./evaluation-set.js";

/** Accuracies and standard errors by the names of lm-evaluation-harness. */
export interface TaskQuality {
  readonly task: string;
  readonly count: number;
  readonly acc: number;
  readonly acc_stderr: number;
  readonly acc_norm: number | null;
  readonly acc_norm_stderr: number | null;
  /** Of last words. */
  readonly perplexity: number | null;
}

/** Asks a benchmark. @returns with each row's chosen answer, where there are choices */
export async function taskQuality(
  model: LanguageModel,
  { tokenizer, contextLength }: Pick<EvaluationSet, "tokenizer" | "contextLength">,
  { name, benchmark }: EvaluationTask,
  ctx: RunContext,
): Promise<{ readonly quality: TaskQuality; readonly chosen?: BenchmarkScore["chosen"] }> {
  const { acc, acc_norm, chosen, ...score } = await scoreBenchmark(
    model,
    tokenizer,
    benchmark,
    { contextLength, name },
    ctx,
  );
  const quality = {
    task: name,
    count: acc.count,
    acc: acc.accuracy,
    acc_stderr: acc.stderr,
    acc_norm: acc_norm?.accuracy ?? null,
    acc_norm_stderr: acc_norm?.stderr ?? null,
    perplexity: score.perplexity ?? null,
  };
  return { quality, chosen };
}
