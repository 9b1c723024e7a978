import type { Checkpoint, Question, Tokenizer, TokenSequences } from "@layerfold/checkpoint";
import { openCheckpoint } from "@layerfold/checkpoint";
import type { LanguageModel } from "@layerfold/core";
import { klToDense, multipleChoice, perplexity } from "@layerfold/evaluate";
import { openDecoder } from "@layerfold/graph";
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
  const checkpoint: Checkpoint = await openCheckpoint(directory);
  const model = await openDecoder(checkpoint);
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
    await model.close();
    await checkpoint.close();
  }
}
