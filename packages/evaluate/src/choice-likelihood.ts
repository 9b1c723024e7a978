import { batchBySize, type Tokenizer } from "@layerfold/checkpoint";
import { type LanguageModel, LayerfoldError, type RunContext, throwIfAborted } from "@layerfold/core";
import { type Accuracy, accuracyOf } from "./accuracy.js";
import { type BatchOptions, tokensPerBatch } from "./batch-budget.js";

/** Something to go on from, and ways to go on, one of which is right. */
export interface ChoiceItem {
  readonly context: string;
  /** Without the space that joins them to the context. */
  readonly choices: readonly string[];
  /** Index of the right choice. */
  readonly answer: number;
  readonly subject?: string;
}

/** Accuracies by the names of lm-evaluation-harness. */
export interface ChoiceScores {
  /** The choice of largest summed log-likelihood. */
  readonly acc: Accuracy;
  /** The sum divided by the choice's length in characters. */
  readonly acc_norm: Accuracy;
  /** The sum divided by the choice's length in UTF-8 bytes. */
  readonly acc_bytes: Accuracy;
}

/**
 * Scores each choice by the summed log-likelihood of its words after the context, joined by one space, as lm-evaluation-harness does
 * (`output_type: multiple_choice`): context and choice are tokenised together, and the tokens beyond the context's own count.
 *
 * @throws QUESTIONS_EMPTY, INTERRUPTED
 */
export async function choiceLikelihood(
  model: LanguageModel,
  tokenizer: Tokenizer,
  items: readonly ChoiceItem[],
  options: BatchOptions,
  ctx: RunContext,
): Promise<ChoiceScores> {
  if (items.length === 0) throw new LayerfoldError("QUESTIONS_EMPTY", "there is no question");
  const requests = items.flatMap(({ context, choices }) =>
    choices.map((choice) => encodePair(tokenizer, context, choice)),
  );
  const sums = new Float64Array(requests.length);
  let done = 0;
  for (const { batch, indices } of batchBySize(
    requests.map(({ ids }) => ids),
    tokensPerBatch(model, options),
  )) {
    throwIfAborted(ctx.signal);
    const logProbabilities = await model.tokenLogProbabilities(batch);
    indices.forEach((index, row) => {
      const { ids, from } = requests[index];
      for (let t = from; t < ids.length; t++)
        sums[index] += logProbabilities[row * batch.sequenceLength + t - 1];
    });
    done += indices.length;
    ctx.report?.({ type: "progress", stage: "questions", done, total: requests.length, unit: "choices" });
  }
  const score = (length: (choice: string) => number) => {
    let at = 0;
    return accuracyOf(
      items.map(({ choices, answer, subject = "" }) => {
        const scores = choices.map((choice) => sums[at++] / length(choice));
        return { subject, right: scores.indexOf(Math.max(...scores)) === answer };
      }),
    );
  };
  return {
    acc: score(() => 1),
    acc_norm: score((choice) => [...choice].length),
    acc_bytes: score((choice) => Buffer.byteLength(choice)),
  };
}

/** Token ids of context and choice together, and where the choice's begin. */
function encodePair(tokenizer: Tokenizer, context: string, choice: string): { ids: number[]; from: number } {
  const begin = { addSpecialTokens: true };
  // The first token of all has nothing before it to be predicted from.
  const from = Math.max(1, tokenizer.encode(context.trimEnd(), begin).length);
  return { ids: tokenizer.encode(`${context.trimEnd()} ${choice}`, begin), from };
}
