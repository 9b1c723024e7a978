import { batchBySize, type Tokenizer } from "@layerfold/checkpoint";
import {
  contiguousData,
  type LanguageModel,
  LayerfoldError,
  type RunContext,
  throwIfAborted,
} from "@layerfold/core";
import { type Accuracy, accuracyOf } from "./accuracy.js";
import { tokensPerBatch } from "./batch-budget.js";
import { logSumExp } from "./log-sum-exp.js";
import { paired } from "./paired.js";
import { encodePairs, type QuestionOptions } from "./prompts.js";
import { reportUnscored } from "./unscored-questions.js";

export interface LastWord {
  /** Texts whose last word greedy decoding gives, every token of it. */
  readonly acc: Accuracy;
  /** exp of the mean over texts of −log p(last word). */
  readonly perplexity: number;
}

/**
 * Guessing the last word of a text from all before it: LAMBADA (Paperno et al. 2016, arXiv 1606.06031), as `lambada_openai` of
 * lm-evaluation-harness has it; what is longer than `contextLength` is cut as there too, and counted. Where a token's likelihood is not
 * finite, the word counts as not guessed, and that is reported.
 *
 * @param texts - each at least two words
 * @throws QUESTIONS_EMPTY, TEXT_TOO_SHORT, QUESTION_TOO_LONG, INTERRUPTED
 */
export async function lastWord(
  model: LanguageModel,
  tokenizer: Tokenizer,
  texts: readonly string[],
  options: QuestionOptions,
  ctx: RunContext,
): Promise<LastWord> {
  if (texts.length === 0) throw new LayerfoldError("QUESTIONS_EMPTY", "there is no text");
  const rows = texts.map((text, index) => {
    const space = text.trimEnd().lastIndexOf(" ");
    if (space <= 0) {
      throw new LayerfoldError("TEXT_TOO_SHORT", "a text has no word before its last", {
        where: `text ${index}`,
      });
    }
    return [{ context: text.slice(0, space), continuation: text.slice(space + 1).trimEnd() }];
  });
  const pairs = encodePairs(tokenizer, rows, options, ctx.report);
  // One row of logits is wanted for each token of the word, and a row for each is less than the whole text's logits.
  const targets = pairs.flatMap(({ ids, from }, index) =>
    ids.slice(from).map((id, i) => ({ index, prefix: ids.slice(0, from + i), id })),
  );
  const right = texts.map(() => ({ subject: "", right: true }));
  const unscored = new Set<number>();
  let loss = 0;
  let done = 0;
  const batches = batchBySize(
    targets.map(({ prefix }) => prefix),
    tokensPerBatch(options),
  );
  const lastLogits = model.lastLogits(
    batches.map(({ batch }) => batch),
    ctx,
  );
  for await (const [{ indices }, found] of paired(batches, lastLogits)) {
    throwIfAborted(ctx.signal);
    const logits = contiguousData(found);
    indices.forEach((target, row) => {
      const { index, id } = targets[target];
      const { best, logSum } = logSumExp(
        logits.subarray(row * model.vocabularySize, (row + 1) * model.vocabularySize),
      );
      const tokenLoss = logSum - logits[row * model.vocabularySize + id];
      if (!Number.isFinite(tokenLoss)) unscored.add(index);
      if (best !== id || !Number.isFinite(tokenLoss)) right[index].right = false;
      loss += tokenLoss;
    });
    done += indices.length;
    ctx.report?.({ type: "progress", stage: "last words", done, total: targets.length, unit: "tokens" });
  }
  reportUnscored(unscored.size, texts.length, options.name, ctx.report);
  return { acc: accuracyOf(right), perplexity: Math.exp(loss / texts.length) };
}
