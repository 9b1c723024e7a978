import { type Checkpoint, openCheckpoint } from "@layerfold/checkpoint";
import type { LanguageModel, RunContext } from "@layerfold/core";
import {
  type BenchmarkScore,
  klToDense,
  multipleChoice,
  perplexity,
  scoreBenchmark,
} from "@layerfold/evaluate";
import { type Decoder, openDecoder } from "@layerfold/graph";
import { isQuantized, quantizedWeights, type RunningSummary, runningSummary } from "@layerfold/quantize";
import type { JudgedTask, Judgement } from "./judgement.js";
import type { Run } from "./run.js";

/** How well a model does; single figures are those of the first text and of the questions, null where there are none. */
export interface Quality {
  readonly perplexity: number | null;
  /** On the first text. */
  readonly kl_to_dense: number | null;
  readonly accuracy: number | null;
  readonly accuracy_stderr: number | null;
  readonly texts: readonly TextQuality[];
  readonly tasks: readonly TaskQuality[];
}

export interface TextQuality {
  readonly text: string;
  readonly perplexity: number;
  readonly tokens: number;
  /** Summed negative log-likelihood of each window, nats, and the tokens that count in it. */
  readonly window_losses: readonly number[];
  readonly window_tokens: readonly number[];
}

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

/** Measures a checkpoint as it lies on disk. @param dense - to measure the divergence from; absent for the dense model itself */
export async function measureQuality(
  directory: string,
  judgement: Judgement,
  dense: LanguageModel | undefined,
  run: Run,
): Promise<Quality> {
  const { model, close } = await openEvaluated(directory, run);
  try {
    return await qualityOf(model, judgement, dense, run);
  } finally {
    await close();
  }
}

/** The same of an open model. */
export async function qualityOf(
  model: LanguageModel,
  judgement: Judgement,
  dense: LanguageModel | undefined,
  { ctx }: Pick<Run, "ctx">,
): Promise<Quality> {
  const { texts, questions, tasks, tokenizer, contextLength } = judgement;
  let kl: number | null = null;
  const onTexts: TextQuality[] = [];
  for (const [index, { name, sequences }] of texts.entries()) {
    const divergence = index === 0 && dense ? await klToDense(dense, model, sequences, {}, ctx) : undefined;
    kl = divergence?.klToDense ?? kl;
    const found = divergence ?? (await perplexity(model, sequences, {}, ctx));
    onTexts.push({
      text: name,
      perplexity: found.perplexity,
      tokens: found.tokens,
      window_losses: [...found.windowLosses],
      window_tokens: sequences.map(({ ids, scoredFrom }) => ids.length - scoredFrom),
    });
  }
  const answers = questions && (await multipleChoice(model, tokenizer, questions, { contextLength }, ctx));
  const onTasks: TaskQuality[] = [];
  for (const task of tasks) onTasks.push((await taskQuality(model, judgement, task, ctx)).quality);
  return {
    perplexity: onTexts[0]?.perplexity ?? null,
    kl_to_dense: kl,
    accuracy: answers?.accuracy ?? null,
    accuracy_stderr: answers?.stderr ?? null,
    texts: onTexts,
    tasks: onTasks,
  };
}

/** Asks a benchmark. @returns with each row's chosen answer, where there are choices */
export async function taskQuality(
  model: LanguageModel,
  { tokenizer, contextLength }: Pick<Judgement, "tokenizer" | "contextLength">,
  { name, benchmark }: JudgedTask,
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

/**
 * Opens a checkpoint to measure it. A quantised one runs on its packed codes, in float32 products; what no kernel takes is simulated
 * exactly, and `running` says how much.
 */
export async function openEvaluated(
  directory: string,
  run: Run,
): Promise<{
  checkpoint: Checkpoint;
  model: Decoder;
  /** Of a quantised checkpoint. */
  running?: RunningSummary;
  close(): Promise<void>;
}> {
  const { report } = run.ctx;
  const checkpoint = await openCheckpoint(directory, { report });
  try {
    const weights = isQuantized(checkpoint) ? await quantizedWeights(checkpoint, report) : undefined;
    const model = await openDecoder(checkpoint, { quantizedWeights: weights });
    return {
      checkpoint,
      model,
      ...(weights && { running: runningSummary(weights.values()) }),
      async close() {
        await model.close();
        await checkpoint.close();
      },
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}
