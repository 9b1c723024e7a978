import type { Tokenizer } from "@layerfold/checkpoint";
import type { RunContext } from "@layerfold/core";
import type { Benchmark } from "./benchmark.js";
import { type AskOptions, askDocuments } from "./harness/ask-documents.js";
import type { Response } from "./harness/metrics.js";
import type { AskedModel } from "./harness/score-sequences.js";
import { summarizeTask, type TaskSummary } from "./harness/summary.js";

/** What a model scores on a benchmark, by the names of lm-evaluation-harness. */
export interface BenchmarkScore extends TaskSummary {
  /** Index of each document's chosen answer, by sum and by sum over length; of a task with choices. */
  readonly chosen?: { readonly acc: readonly number[]; readonly acc_norm: readonly number[] };
}

/** Asks a benchmark's documents. @throws as `askDocuments` */
export async function scoreBenchmark(
  model: AskedModel,
  tokenizer: Tokenizer,
  { id, config, documents }: Benchmark,
  options: AskOptions,
  ctx: Pick<RunContext, "signal" | "report" | "memory">,
): Promise<BenchmarkScore> {
  const responses = await askDocuments(model, tokenizer, documents, { name: id, ...options }, ctx);
  // Nobody reads the standard error of a perplexity here, which takes 100,000 draws.
  const summary = summarizeTask(config, documents, responses, { iterations: 0 });
  if (config.output_type !== "multiple_choice") return summary;
  const choose = (length: (choice: string) => number) =>
    documents.map(({ choices = [] }, i) =>
      largest(responses[i].slice(0, choices.length), (k) => length(choices[k])),
    );
  return { ...summary, chosen: { acc: choose(() => 1), acc_norm: choose((choice) => [...choice].length) } };
}

function largest(responses: readonly Response[], length: (index: number) => number): number {
  const scores = responses.map((response, i) => {
    const [sum] = response as readonly [number | null, boolean];
    return (sum ?? Number.NaN) / length(i);
  });
  return scores.indexOf(Math.max(...scores));
}
