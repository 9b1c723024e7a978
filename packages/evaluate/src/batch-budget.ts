import type { LanguageModel } from "@layerfold/core";

export interface BatchOptions {
  /** Padded positions that go through the model at once; default: 1,024, and where their logits are looked at, no more than make 64 million. */
  readonly maxTokensPerBatch?: number | undefined;
}

/**
 * Positions per batch where a model gives one number, or one row of logits, for many of them. More are slower: a block's activations no
 * longer fit into the processor's cache.
 */
export function tokensPerBatch({ maxTokensPerBatch = 1024 }: BatchOptions): number {
  return maxTokensPerBatch;
}

/** The same where it gives the logits of all, [positions, vocabulary] float32: by far the largest thing that it holds then. */
export function logitsPerBatch(model: LanguageModel, options: BatchOptions): number {
  return options.maxTokensPerBatch ?? Math.min(1024, Math.max(1, Math.floor(2 ** 26 / model.vocabularySize)));
}
