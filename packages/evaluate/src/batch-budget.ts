import type { LanguageModel } from "@layerfold/core";

export interface BatchOptions {
  /** Padded positions that go through the model at once; default: 4,096, and where their logits are looked at, no more than make 64 million. */
  readonly maxTokensPerBatch?: number | undefined;
}

/** Positions per batch where a model gives one number, or one row of logits, for many of them. */
export function tokensPerBatch({ maxTokensPerBatch = 4096 }: BatchOptions): number {
  return maxTokensPerBatch;
}

/** The same where it gives the logits of all, [positions, vocabulary] float32: by far the largest thing that it holds then. */
export function logitsPerBatch(model: LanguageModel, options: BatchOptions): number {
  return options.maxTokensPerBatch ?? Math.min(4096, Math.max(1, Math.floor(2 ** 26 / model.vocabularySize)));
}
