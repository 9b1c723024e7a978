import type { Checkpoint, Question, Tokenizer, TokenSequences } from "@layerfold/checkpoint";
import { openCheckpoint } from "@layerfold/checkpoint";
import type { LanguageModel } from "@layerfold/core";
import { klToDense, multipleChoice, perplexity } from "@layerfold/evaluate";
import { openDecoder } from "@layerfold/graph";
import { isQuantized, quantizedWeights, type RunningSummary, runningSummary } from "@layerfold/quantize";
import type { Run } from "./run.js";

/** What quality is judged on; what is absent is not measured. */
export interface Judgement {
  readonly sequences?: TokenSequences;
  readonly questions?: readonly Question[];
  readonly tokenizer: Tokenizer;
}

export interface Quality {
  readonly perplexity: number | null;
  readonly kl_to_dense: number | null;
  readonly accuracy: number | null;
  readonly accuracy_stderr: number | null;
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
    const { sequences, questions, tokenizer } = judgement;
    const divergence =
      sequences && dense && (await klToDense(dense, model, sequences.sequences, {}, run.ctx));
    const text = divergence ?? (sequences && (await perplexity(model, sequences.sequences, {}, run.ctx)));
    const answers = questions && (await multipleChoice(model, tokenizer, questions, {}, run.ctx));
    return {
      perplexity: text?.perplexity ?? null,
      kl_to_dense: divergence?.klToDense ?? null,
      accuracy: answers?.accuracy ?? null,
      accuracy_stderr: answers?.stderr ?? null,
    };
  } finally {
    await close();
  }
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
  model: LanguageModel;
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
