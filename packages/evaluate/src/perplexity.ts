import { batchBySize, type TokenSequence } from "@layerfold/checkpoint";
import { type LanguageModel, LayerfoldError, type RunContext, throwIfAborted } from "@layerfold/core";
import { type BatchOptions, tokensPerBatch } from "./batch-budget.js";
import { paired } from "./paired.js";

export interface Perplexity {
  /** exp(negativeLogLikelihood / tokens). Infinite or NaN where the model is so broken; that is reported. */
  readonly perplexity: number;
  /** Sum over all tokens that count, in nats. */
  readonly negativeLogLikelihood: number;
  /** Tokens that count. */
  readonly tokens: number;
  /** Sequences, each of which the model saw alone. */
  readonly windows: number;
  /** [windows] each sequence's part of the sum. */
  readonly windowLosses: Float64Array;
}

/**
 * Perplexity of a text, every token weighted alike: exp(−Σ log p(token | those before it in its window) / number of tokens).
 * A window's first token has nothing before it and never counts; of overlapping windows only the new tokens count
 * (`scoredFrom`). The sum is float64.
 *
 * @throws TEXT_EMPTY when no token counts, INTERRUPTED
 */
export async function perplexity(
  model: LanguageModel,
  sequences: readonly TokenSequence[],
  options: BatchOptions,
  ctx: RunContext,
): Promise<Perplexity> {
  const total = countTargets(sequences);
  const losses = new Float64Array(sequences.length);
  let done = 0;
  const batches = batchBySize(
    sequences.map(({ ids }) => ids),
    tokensPerBatch(options),
  );
  const answers = model.tokenLogProbabilities(
    batches.map(({ batch }) => batch),
    ctx,
  );
  for await (const [{ batch, indices }, logProbabilities] of paired(batches, answers)) {
    throwIfAborted(ctx.signal);
    indices.forEach((index, row) => {
      const { ids, scoredFrom } = sequences[index];
      const at = row * batch.sequenceLength;
      for (let target = scoredFrom; target < ids.length; target++) {
        losses[index] -= logProbabilities[at + target - 1];
      }
      done += ids.length - scoredFrom;
    });
    ctx.report?.({ type: "progress", stage: "perplexity", done, total, unit: "tokens" });
  }
  return perplexityOf(losses, total, ctx);
}

/** The figures of a text from its sequences' summed negative log-likelihoods. */
export function perplexityOf(windowLosses: Float64Array, tokens: number, ctx: RunContext): Perplexity {
  const sum = windowLosses.reduce((a, b) => a + b, 0);
  const value = Math.exp(sum / tokens);
  if (!Number.isFinite(value)) {
    ctx.report?.({
      type: "diagnostic",
      severity: "warning",
      code: "PERPLEXITY_NOT_FINITE",
      message: `the perplexity is ${value}: the model gives logits that are not finite, or all but impossible tokens`,
    });
  }
  return {
    perplexity: value,
    negativeLogLikelihood: sum,
    tokens,
    windows: windowLosses.length,
    windowLosses,
  };
}

/** Tokens that count. @throws TEXT_EMPTY when there are none */
export function countTargets(sequences: readonly TokenSequence[]): number {
  const total = sequences.reduce((sum, { ids, scoredFrom }) => sum + Math.max(0, ids.length - scoredFrom), 0);
  if (total === 0) throw new LayerfoldError("TEXT_EMPTY", "the text has no token to predict");
  return total;
}
