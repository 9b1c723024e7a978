import { batchBySize, type TokenSequence } from "@layerfold/checkpoint";
import {
  contiguousData,
  type LanguageModel,
  LayerfoldError,
  type RunContext,
  throwIfAborted,
} from "@layerfold/core";
import { type BatchOptions, logitsPerBatch } from "./batch-budget.js";
import { paired } from "./paired.js";
import { countTargets, type Perplexity, perplexityOf } from "./perplexity.js";

/** How far a folded model is from the dense one, and the folded model's own perplexity, which the same logits give. */
export interface Divergence extends Perplexity {
  /** Mean over tokens, nats; 0 for equal models. NaN where a model's logits are not finite; that is reported. */
  readonly klToDense: number;
  /** Share of tokens for which both models hold the same token most probable (the first of equals), 0 … 1. */
  readonly top1Agreement: number;
}

/**
 * How far a model's predictions are from the dense model's: the mean over tokens of
 * KL(dense ‖ folded) = Σ_v p_v (log p_v − log q_v), over the same tokens that `perplexity` scores.
 * Costs a forward pass of each model and two exponentials per token and vocabulary entry.
 *
 * @throws VOCABULARY_DIFFERS, TEXT_EMPTY, INTERRUPTED
 */
export async function klToDense(
  dense: LanguageModel,
  folded: LanguageModel,
  sequences: readonly TokenSequence[],
  options: BatchOptions,
  ctx: RunContext,
): Promise<Divergence> {
  const { vocabularySize } = dense;
  if (folded.vocabularySize !== vocabularySize) {
    throw new LayerfoldError("VOCABULARY_DIFFERS", "the models do not speak of the same tokens", {
      wanted: `${vocabularySize} tokens`,
      got: `${folded.vocabularySize}`,
    });
  }
  const total = countTargets(sequences);
  let sum = 0;
  let agreed = 0;
  const losses = new Float64Array(sequences.length);
  let done = 0;
  const indexed = batchBySize(
    sequences.map(({ ids }) => ids),
    logitsPerBatch(dense, options),
  );
  const batches = indexed.map(({ batch }) => batch);
  const both = paired(paired(indexed, dense.logits(batches, ctx)), folded.logits(batches, ctx));
  for await (const [[{ batch, indices }, denseLogits], foldedLogits] of both) {
    throwIfAborted(ctx.signal);
    const p = contiguousData(denseLogits);
    const q = contiguousData(foldedLogits);
    indices.forEach((index, row) => {
      const { ids, scoredFrom } = sequences[index];
      for (let target = scoredFrom; target < ids.length; target++) {
        const at = (row * batch.sequenceLength + target - 1) * vocabularySize;
        const { kl, logSumQ, sameBest } = divergence(p, q, at, vocabularySize);
        sum += kl;
        if (sameBest) agreed++;
        losses[index] += logSumQ - q[at + ids[target]];
      }
      done += ids.length - scoredFrom;
    });
    ctx.report?.({ type: "progress", stage: "divergence", done, total, unit: "tokens" });
  }
  if (!Number.isFinite(sum)) {
    ctx.report?.({
      type: "diagnostic",
      severity: "warning",
      code: "DIVERGENCE_NOT_FINITE",
      message: "the divergence from the dense model is not finite: a model gives logits that are not finite",
    });
  }
  return { klToDense: sum / total, top1Agreement: agreed / total, ...perplexityOf(losses, total, ctx) };
}

/** KL between the softmaxes of a[at …] and b[at …]: Σ p (a − b) + logsumexp b − logsumexp a; logsumexp b; and whether both are largest at the same place. */
function divergence(a: Float32Array, b: Float32Array, at: number, count: number) {
  let highA = Number.NEGATIVE_INFINITY;
  let highB = Number.NEGATIVE_INFINITY;
  let bestA = -1;
  let bestB = -2;
  for (let v = at; v < at + count; v++) {
    if (a[v] > highA) {
      highA = a[v];
      bestA = v;
    }
    if (b[v] > highB) {
      highB = b[v];
      bestB = v;
    }
  }
  let sumA = 0;
  let sumB = 0;
  let cross = 0;
  for (let v = at; v < at + count; v++) {
    const da = a[v] - highA;
    const db = b[v] - highB;
    const weight = Math.exp(da);
    sumA += weight;
    sumB += Math.exp(db);
    cross += weight * (da - db);
  }
  const kl = cross / sumA + Math.log(sumB) - Math.log(sumA);
  return { kl, logSumQ: highB + Math.log(sumB), sameBest: bestA === bestB };
}
