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
import { logSumExp } from "./log-sum-exp.js";

/** Something to go on from, and ways to go on, one of which is right. */
export interface ChoiceItem {
  /** One for all choices, or one for each. */
  readonly context: string | readonly string[];
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
  /** [items] index of the choice that `acc` and `acc_norm` take for the model's answer. */
  readonly chosen: { readonly acc: readonly number[]; readonly acc_norm: readonly number[] };
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
  const pairs = items.flatMap(({ context, choices }) =>
    choices.map((choice, i) =>
      encodePair(tokenizer, typeof context === "string" ? context : context[i], choice),
    ),
  );
  const sums = new Float64Array(pairs.length);
  let done = 0;
  const advance = (count: number) => {
    done += count;
    ctx.report?.({ type: "progress", stage: "questions", done, total: pairs.length, unit: "choices" });
  };
  const { shared, alone } = commonPrefixes(pairs);
  // Choices of one token after one context, such as answer letters, all stand in one row of logits.
  for (const { batch, indices } of batchBySize(
    shared.map(({ prefix }) => prefix),
    tokensPerBatch(model, options),
  )) {
    throwIfAborted(ctx.signal);
    const logits = contiguousData(await model.lastLogits(batch));
    indices.forEach((index, row) => {
      const values = logits.subarray(row * model.vocabularySize, (row + 1) * model.vocabularySize);
      const { logSum } = logSumExp(values);
      for (const pair of shared[index].pairs) sums[pair] = values[pairs[pair].ids[pairs[pair].from]] - logSum;
      advance(shared[index].pairs.length);
    });
  }
  for (const { batch, indices } of batchBySize(
    alone.map((pair) => pairs[pair].ids),
    tokensPerBatch(model, options),
  )) {
    throwIfAborted(ctx.signal);
    const logProbabilities = await model.tokenLogProbabilities(batch);
    indices.forEach((index, row) => {
      const { ids, from } = pairs[alone[index]];
      for (let t = from; t < ids.length; t++) {
        sums[alone[index]] += logProbabilities[row * batch.sequenceLength + t - 1];
      }
    });
    advance(indices.length);
  }
  const choose = (length: (choice: string) => number) => {
    let at = 0;
    return items.map(({ choices }) => {
      const scores = choices.map((choice) => sums[at++] / length(choice));
      return scores.indexOf(Math.max(...scores));
    });
  };
  const score = (chosen: readonly number[]) =>
    accuracyOf(items.map(({ answer, subject = "" }, i) => ({ subject, right: chosen[i] === answer })));
  const chosen = { acc: choose(() => 1), acc_norm: choose((choice) => [...choice].length) };
  return {
    acc: score(chosen.acc),
    acc_norm: score(chosen.acc_norm),
    acc_bytes: score(choose((choice) => Buffer.byteLength(choice))),
    chosen,
  };
}

/** Pairs whose continuation is one token, by the context that they share; and the indices of the rest. */
function commonPrefixes(pairs: readonly { ids: readonly number[]; from: number }[]) {
  const shared = new Map<string, { prefix: readonly number[]; pairs: number[] }>();
  const alone: number[] = [];
  pairs.forEach(({ ids, from }, index) => {
    if (from !== ids.length - 1) {
      alone.push(index);
      return;
    }
    const prefix = ids.slice(0, from);
    const group = shared.get(prefix.join());
    if (group) group.pairs.push(index);
    else shared.set(prefix.join(), { prefix, pairs: [index] });
  });
  return { shared: [...shared.values()], alone };
}

/** Token ids of a context and what goes on after it, joined by one space, and where the latter begin. */
export function encodePair(
  tokenizer: Tokenizer,
  context: string,
  continuation: string,
): { ids: number[]; from: number } {
  const before = context.trimEnd();
  const special = { addSpecialTokens: true };
  // The first token of all has nothing before it to be predicted from.
  const from = Math.max(1, tokenizer.encode(before, special).length);
  return { ids: tokenizer.encode(`${before} ${continuation}`, special), from };
}
