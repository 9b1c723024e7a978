import {
  batchBySize,
  promptIds,
  type Question,
  type Tokenizer,
  type TokenSequence,
} from "@layerfold/checkpoint";
import {
  contiguousData,
  type LanguageModel,
  LayerfoldError,
  type RunContext,
  throwIfAborted,
} from "@layerfold/core";
import { type Accuracy, accuracyOf } from "./accuracy.js";
import { tokensPerBatch } from "./batch-budget.js";
import { paired } from "./paired.js";
import { cutLeft, type QuestionOptions, reportPrompts } from "./prompts.js";
import { reportUnscored } from "./unscored-questions.js";

/**
 * The prompt that a question becomes, without examples before it:
 * `Question: …\nA. …\nB. …\nAnswer:`
 */
export function choicePrompt({ question, choices }: Pick<Question, "question" | "choices">): string {
  const lines = choices.map((choice, i) => `${letter(i)}. ${choice}`);
  return [`Question: ${question.trimEnd()}`, ...lines, "Answer:"].join("\n");
}

/**
 * Accuracy by answer letter: after the prompt, the choice whose letter (with its leading space) has the largest logit is the
 * model's answer. Special tokens are added as the tokenizer adds them by itself. Of prompts longer than `contextLength` the end is kept.
 * Where a letter's logit is not finite, the answer counts as wrong, and that is reported.
 *
 * @throws QUESTIONS_EMPTY, ANSWER_TOKEN when a letter after the prompt is not one token (score the words with
 * `choiceLikelihood` then), INTERRUPTED
 */
export async function multipleChoice(
  model: LanguageModel,
  tokenizer: Tokenizer,
  questions: readonly Question[],
  options: QuestionOptions,
  ctx: RunContext,
): Promise<Accuracy> {
  const { prompts, letters } = asked(tokenizer, questions, options, ctx.report);
  const right: { subject: string; right: boolean }[] = new Array(questions.length);
  let unscored = 0;
  let done = 0;
  const batches = batchBySize(prompts, tokensPerBatch(options));
  const lastLogits = model.lastLogits(
    batches.map(({ batch }) => batch),
    ctx,
  );
  for await (const [{ indices }, found] of paired(batches, lastLogits)) {
    throwIfAborted(ctx.signal);
    const logits = contiguousData(found);
    indices.forEach((index, row) => {
      const { subject, choices, answer } = questions[index];
      const scores = choices.map((_, i) => logits[row * model.vocabularySize + letters[i]]);
      const scored = scores.every(Number.isFinite);
      if (!scored) unscored++;
      right[index] = { subject, right: scored && scores.indexOf(Math.max(...scores)) === answer };
    });
    done += indices.length;
    ctx.report?.({ type: "progress", stage: "questions", done, total: questions.length, unit: "questions" });
  }
  reportUnscored(unscored, questions.length, options.name, ctx.report);
  return accuracyOf(right);
}

/**
 * Questions with their right answers, as token sequences whose one target is the letter that `multipleChoice` wants: the loss of a model
 * on them tells how surely it answers.
 * @throws as `multipleChoice`
 */
export function answeredQuestions(
  tokenizer: Tokenizer,
  questions: readonly Question[],
  { contextLength = Number.POSITIVE_INFINITY, name }: QuestionOptions = {},
  report?: RunContext["report"],
): TokenSequence[] {
  // The letter stands in the sequence too.
  const { prompts, letters } = asked(
    tokenizer,
    questions,
    { contextLength: contextLength - 1, name },
    report,
  );
  return prompts.map((prompt, i) => ({
    ids: Int32Array.from([...prompt, letters[questions[i].answer]]),
    scoredFrom: prompt.length,
  }));
}

/** Token ids of the prompts, and of the answer letters that may follow. */
function asked(
  tokenizer: Tokenizer,
  questions: readonly Question[],
  options: QuestionOptions,
  report: RunContext["report"],
) {
  if (questions.length === 0) throw new LayerfoldError("QUESTIONS_EMPTY", "there is no question");
  const whole = questions.map((question) => promptIds(tokenizer, choicePrompt(question)));
  const prompts = whole.map(({ ids }) => cutLeft(ids, options.contextLength));
  reportPrompts(
    {
      asked: questions.length,
      begun: whole.filter(({ ownBegin }) => ownBegin).length,
      cut: prompts.filter((prompt, i) => prompt.length < whole[i].ids.length).length,
    },
    options,
    report,
  );
  const most = questions.reduce((max, { choices }) => Math.max(max, choices.length), 0);
  const letters = Array.from({ length: most }, (_, i) =>
    letterToken(tokenizer, questions[0], whole[0].ids, letter(i)),
  );
  return { prompts, letters };
}

function letter(index: number): string {
  return String.fromCharCode("A".charCodeAt(0) + index);
}

/** Id of the token that a letter is after the prompt; looked up in place, since tokenizers differ in what they do with a lone space. */
function letterToken(
  tokenizer: Tokenizer,
  question: Question,
  prompt: readonly number[],
  name: string,
): number {
  const { ids } = promptIds(tokenizer, `${choicePrompt(question)} ${name}`);
  // A tokenizer that ends every text with a special token ends both alike.
  const same = ids.findIndex((id, i) => id !== prompt[i]);
  if (
    ids.length !== prompt.length + 1 ||
    same < 0 ||
    ids.slice(same + 1).join() !== prompt.slice(same).join()
  ) {
    throw new LayerfoldError("ANSWER_TOKEN", "the answer letter is not one token after the prompt", {
      wanted: `one token for " ${name}"`,
      got: `${ids.length - prompt.length} more than the prompt`,
    });
  }
  return ids[same];
}
