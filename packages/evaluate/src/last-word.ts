import { batchBySize, type Tokenizer } from "@layerfold/checkpoint";
import {
  contiguousData,
  type LanguageModel,
  LayerfoldError,
  type RunContext,
  throwIfAborted,
} from "@layerfold/core";
import { type Accuracy, accuracyOf } from "./accuracy.js";
import { type BatchOptions, tokensPerBatch } from "./batch-budget.js";
import { encodePair } from "./choice-likelihood.js";
import { logSumExp } from "./log-sum-exp.js";

export interface LastWord {
  /** Texts whose last word greedy decoding gives, every token of it. */
  readonly acc: Accuracy;
  /** exp of the mean over texts of −log p(last word). */
  readonly perplexity: number;
}

/**
 * Guessing the last word of a text from all before it: LAMBADA (Paperno et al. 2016, arXiv 1606.06031), as `lambada_openai` of
 * lm-evaluation-harness has it.
 *
 * @param texts - each at least two words
 * @throws QUESTIONS_EMPTY, TEXT_TOO_SHORT, INTERRUPTED
 */
export async function lastWord(
  model: LanguageModel,
  tokenizer: Tokenizer,
  texts: readonly string[],
  options: BatchOptions,
  ctx: RunContext,
): Promise<LastWord> {
  if (texts.length === 0) throw new LayerfoldError("QUESTIONS_EMPTY", "there is no text");
  // One row of logits is wanted for each token of the word, and a row for each is less than the whole text's logits.
  const targets = texts.flatMap((text, index) => {
    const space = text.trimEnd().lastIndexOf(" ");
    if (space <= 0) {
      throw new LayerfoldError("TEXT_TOO_SHORT", "a text has no word before its last", {
        where: `text ${index}`,
      });
    }
    const { ids, from } = encodePair(tokenizer, text.slice(0, space), text.slice(space + 1).trimEnd());
    return ids.slice(from).map((id, i) => ({ index, prefix: ids.slice(0, from + i), id }));
  });
  const right = texts.map(() => ({ subject: "", right: true }));
  let loss = 0;
  let done = 0;
  for (const { batch, indices } of batchBySize(
    targets.map(({ prefix }) => prefix),
    tokensPerBatch(model, options),
  )) {
    throwIfAborted(ctx.signal);
    const logits = contiguousData(await model.lastLogits(batch));
    indices.forEach((target, row) => {
      const { index, id } = targets[target];
      const { best, logSum } = logSumExp(
        logits.subarray(row * model.vocabularySize, (row + 1) * model.vocabularySize),
      );
      if (best !== id) right[index].right = false;
      loss += logSum - logits[row * model.vocabularySize + id];
    });
    done += indices.length;
    ctx.report?.({ type: "progress", stage: "last words", done, total: targets.length, unit: "tokens" });
  }
  return { acc: accuracyOf(right), perplexity: Math.exp(loss / texts.length) };
}
