import type { LanguageModel } from "@layerfold/core";

export interface BatchOptions {
  /** Padded positions that go through the model at once; default: as many as make about 64 million logits, at most 1,024. */
  readonly maxTokensPerBatch?: number | undefined;
}

/**
 * Positions per batch for a model: the logits, [positions, vocabulary] float32, are by far the largest thing that it holds. Where the
 * vocabulary is small, more than a thousand positions are slower: a block's activations no longer fit into the processor's cache.
 */
export function tokensPerBatch(model: LanguageModel, options: BatchOptions): number {
  return options.maxTokensPerBatch ?? Math.min(1024, Math.max(1, Math.floor(2 ** 26 / model.vocabularySize)));
}
