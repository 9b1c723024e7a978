import { batchBySize, type Tokenizer } from "@layerfold/checkpoint";
import {
  type ChoiceItem,
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
import { encodePairs, type Pair, type QuestionOptions } from "./prompts.js";
import { reportUnscored } from "./unscored-questions.js";

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
 * (`output_type: multiple_choice`): context and choice are tokenised together, and the tokens beyond the context's own count. What is
 * longer than `contextLength` is cut as there too, and counted. Where a choice's likelihood is not finite, the answer counts as wrong,
 * and that is reported.
 *
 * @throws QUESTIONS_EMPTY, QUESTION_TOO_LONG, INTERRUPTED
 */
export async function choiceLikelihood(
  model: LanguageModel,
  tokenizer: Tokenizer,
  items: readonly ChoiceItem[],
  options: QuestionOptions,
  ctx: RunContext,
): Promise<ChoiceScores> {
  if (items.length === 0) throw new LayerfoldError("QUESTIONS_EMPTY", "there is no question");
  const { contextLength } = options;
  const rows = items.map(({ context, choices }) =>
    choices.map((continuation, i) => ({
      context: typeof context === "string" ? context : context[i],
      continuation,
    })),
  );
  const pairs = encodePairs(tokenizer, rows, options, ctx.report);
  const sums = new Float64Array(pairs.length);
  let done = 0;
  const advance = (count: number) => {
    done += count;
    ctx.report?.({ type: "progress", stage: "questions", done, total: pairs.length, unit: "choices" });
  };
  const { shared, alone } = commonPrefixes(pairs, contextLength);
  // Choices of one token after one context, such as answer letters, all stand in one row of logits.
  const prefixes = batchBySize(
    shared.map(({ prefix }) => prefix),
    tokensPerBatch(options),
  );
  const lastLogits = model.lastLogits(
    prefixes.map(({ batch }) => batch),
    ctx,
  );
  for await (const [{ indices }, found] of paired(prefixes, lastLogits)) {
    throwIfAborted(ctx.signal);
    const logits = contiguousData(found);
    indices.forEach((index, row) => {
      const values = logits.subarray(row * model.vocabularySize, (row + 1) * model.vocabularySize);
      const { logSum } = logSumExp(values);
      for (const pair of shared[index].pairs) sums[pair] += values[pairs[pair].ids.at(-1)!] - logSum;
      advance(shared[index].pairs.filter((pair) => pairs[pair].from === pairs[pair].ids.length - 1).length);
    });
  }
  const whole = batchBySize(
    alone.map((pair) => seen(pairs[pair], contextLength)),
    tokensPerBatch(options),
  );
  const scores = model.tokenLogProbabilities(
    whole.map(({ batch }) => batch),
    ctx,
  );
  for await (const [{ batch, indices }, logProbabilities] of paired(whole, scores)) {
    throwIfAborted(ctx.signal);
    indices.forEach((index, row) => {
      const { from } = pairs[alone[index]];
      for (let t = from; t < batch.lengths[row]; t++) {
        sums[alone[index]] += logProbabilities[row * batch.sequenceLength + t - 1];
      }
    });
    advance(indices.length);
  }
  let first = 0;
  const scored = items.map(({ choices }) =>
    sums.subarray(first, (first += choices.length)).every(Number.isFinite),
  );
  reportUnscored(scored.filter((all) => !all).length, items.length, options.name, ctx.report);
  const choose = (length: (choice: string) => number) => {
    let at = 0;
    return items.map(({ choices }) => {
      const scores = choices.map((choice) => sums[at++] / length(choice));
      return scores.indexOf(Math.max(...scores));
    });
  };
  const score = (chosen: readonly number[]) =>
    accuracyOf(
      items.map(({ answer, subject = "" }, i) => ({ subject, right: scored[i] && chosen[i] === answer })),
    );
  const chosen = { acc: choose(() => 1), acc_norm: choose((choice) => [...choice].length) };
  return {
    acc: score(chosen.acc),
    acc_norm: score(chosen.acc_norm),
    acc_bytes: score(choose((choice) => Buffer.byteLength(choice))),
    chosen,
  };
}

/** What of a pair goes through the model where all its targets but the last are wanted. */
function seen({ ids }: Pair, contextLength = Number.POSITIVE_INFINITY): readonly number[] {
  return ids.length > contextLength ? ids.slice(0, -1) : ids;
}

/**
 * Pairs whose last token is read from the logits before it, by the tokens that they share until there; and the indices of those that
 * have other targets. A pair that fills the whole context is in both: its last token finds no place in the model.
 */
function commonPrefixes(pairs: readonly Pair[], contextLength = Number.POSITIVE_INFINITY) {
  const shared = new Map<string, { prefix: readonly number[]; pairs: number[] }>();
  const alone: number[] = [];
  pairs.forEach(({ ids, from }, index) => {
    const single = from === ids.length - 1;
    if (!single) alone.push(index);
    if (!single && ids.length <= contextLength) return;
    const prefix = ids.slice(0, -1);
    const group = shared.get(prefix.join());
    if (group) group.pairs.push(index);
    else shared.set(prefix.join(), { prefix, pairs: [index] });
  });
  return { shared: [...shared.values()], alone };
}
