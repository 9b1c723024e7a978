import { promptIds, reportBegun, type Tokenizer } from "@layerfold/checkpoint";
import { LayerfoldError, type RunContext } from "@layerfold/core";
import type { BatchOptions } from "./batch-budget.js";

export interface QuestionOptions extends BatchOptions {
  /** Most tokens that the model is shown at once; what is longer loses its beginning, and is counted. Default: no limit. */
  readonly contextLength?: number | undefined;
  /** What reports call the questions; default "questions". */
  readonly name?: string | undefined;
}

/** Token ids of something and what goes on after it. */
export interface Pair {
  readonly ids: readonly number[];
  /** Where what goes on begins; at least 1. */
  readonly from: number;
}

/**
 * Texts and what goes on after each, joined by one space, as token ids. As lm-evaluation-harness does, of those that are too long the
 * last `contextLength` + 1 tokens are kept: the model sees all but the last of them, which is only a target.
 * @param rows - the pairs of each row of the benchmark, all of which count as one
 * @throws QUESTION_TOO_LONG naming the row, where the model cannot see the whole of what goes on
 */
export function encodePairs(
  tokenizer: Tokenizer,
  rows: readonly (readonly { readonly context: string; readonly continuation: string }[])[],
  { contextLength, name }: QuestionOptions,
  report: RunContext["report"],
): Pair[] {
  let begun = 0;
  let cut = 0;
  const pairs = rows.flatMap((row, index) => {
    const starts = new Map<string, number>();
    const whole = row.map(({ context, continuation }) =>
      encodePair(tokenizer, context, continuation, starts),
    );
    const kept = whole.map(({ ids, from }) => {
      const end = cutLeft(ids, contextLength && contextLength + 1);
      const gone = ids.length - end.length;
      if (from - gone >= 1) return { ids: end, from: from - gone };
      throw new LayerfoldError(
        "QUESTION_TOO_LONG",
        "an answer is longer than all that the model sees at once",
        {
          wanted: `at most ${contextLength} tokens`,
          got: `${ids.length - from}`,
          where: `${name ?? "questions"}, row ${index}`,
        },
      );
    });
    if (whole.some(({ ownBegin }) => ownBegin)) begun++;
    if (whole.some(({ ids }, i) => kept[i].ids.length < ids.length)) cut++;
    return kept;
  });
  reportPrompts({ asked: rows.length, begun, cut }, { contextLength, name }, report);
  return pairs;
}

/** @param starts - tokens of the contexts that were met before: choices mostly share theirs, which may be long */
function encodePair(
  tokenizer: Tokenizer,
  context: string,
  continuation: string,
  starts: Map<string, number>,
): Pair & { ownBegin: boolean } {
  const before = context.trimEnd();
  const { ids, ownBegin } = promptIds(tokenizer, `${before} ${continuation}`);
  // The first token of all has nothing before it to be predicted from.
  const from = starts.get(before) ?? Math.max(1, promptIds(tokenizer, before).ids.length);
  starts.set(before, from);
  return { ids, ownBegin, from };
}

/** The last tokens, at most so many. */
export function cutLeft(ids: readonly number[], most = Number.POSITIVE_INFINITY): readonly number[] {
  return ids.length > most ? ids.slice(ids.length - most) : ids;
}

/** Says how many questions were not asked as they stand. */
export function reportPrompts(
  { asked, begun, cut }: { readonly asked: number; readonly begun: number; readonly cut: number },
  { contextLength, name = "questions" }: QuestionOptions,
  report: RunContext["report"],
): void {
  reportBegun(begun, `${asked}`, name, report);
  if (cut > 0) {
    report?.({
      type: "diagnostic",
      severity: "warning",
      code: "QUESTIONS_CUT",
      message: `${name}: ${cut} of ${asked} are longer than the ${contextLength} tokens that the model sees at once and lost their beginning`,
    });
  }
}
