import { type Checkpoint, openCheckpoint, openTokenizer, type Tokenizer } from "@layerfold/checkpoint";
import type { Execution } from "@layerfold/graph";
import { readSequences } from "../inputs/open-model.js";
import { shortName } from "../inputs/text-source.js";
import { withExecution } from "../memory.js";
import type { Run } from "../run.js";
import type { CompareResultsRequest, ResultComparison } from "../stages/compare-results.js";
import type { TaskRunner } from "../task-runner.js";
import { generateTask } from "../tasks/generate-answers.js";
import { givenValue } from "../tasks/given-text.js";
import { givenModel, type ModelInput } from "../tasks/stored-model.js";
import type { Side } from "./sides.js";
import { type ComparedText, requireSameTokens } from "./text-figures.js";

/** What is given to checkpoints beside tasks. */
export interface GivenTexts {
  readonly models: readonly ModelInput[];
  readonly execution: Execution;
  readonly texts: readonly ComparedText[];
  readonly prompts: readonly string[];
}

/** How many windows of a text are gone on with where no prompt is given, and by how many of their first tokens. */
const ownPrompts = { windows: 3, tokens: 16 };

/** Reads texts by each model's own tokenizer, before the first long computation. @throws TOKENS_DIFFER */
export async function readTexts(
  { texts: named = [], prompts, ...windows }: CompareResultsRequest,
  sides: readonly Side[],
  run: Run,
): Promise<GivenTexts | undefined> {
  if (named.length === 0 && !prompts?.length) return undefined;
  const opened: { checkpoint: Checkpoint; tokenizer: Tokenizer; name: string }[] = [];
  try {
    for (const side of sides) {
      if (side.kind !== "checkpoint") continue;
      const checkpoint = await openCheckpoint(side.directory, { report: run.ctx.report });
      opened.push({ checkpoint, tokenizer: await openTokenizer(side.directory), name: side.name });
    }
    const context = Math.min(
      ...opened.map(({ checkpoint }) => checkpoint.architecture.maxPositionEmbeddings),
    );
    const texts: ComparedText[] = [];
    for (const text of named) {
      const read = [];
      for (const { tokenizer } of opened)
        read.push((await readSequences(text, context, tokenizer, windows, run)).sequences);
      const [first, ...others] = read;
      others.forEach((other, i) => {
        requireSameTokens(text, first, other, opened[i + 1].name);
      });
      texts.push({ name: shortName(text), sequences: first });
    }
    const models: ModelInput[] = [];
    for (const { checkpoint } of opened)
      models.push(givenModel(checkpoint.directory, await checkpoint.fingerprint(), run.place));
    // The first stays open beside each of the others.
    const executions = opened.map(({ checkpoint }) => withExecution(run, checkpoint, 2).execution);
    const [{ tokenizer }] = opened;
    const beginnings = (texts[0]?.sequences ?? [])
      .slice(0, ownPrompts.windows)
      .map(({ ids }) =>
        tokenizer.decode(Array.from(ids.subarray(0, ownPrompts.tokens)), { skipSpecialTokens: true }),
      );
    return {
      models,
      texts,
      prompts: prompts?.length ? prompts : beginnings,
      execution: executions.includes("blocks") ? "blocks" : "whole",
    };
  } finally {
    for (const { checkpoint } of opened) await checkpoint.close();
  }
}

/** How each model goes on with each prompt. */
export async function generate(
  { models, prompts, execution }: GivenTexts,
  maxNewTokens = 48,
  runner: TaskRunner,
): Promise<ResultComparison["generations"]> {
  const given = givenValue("prompts", prompts);
  const answers = await runner.run(
    models.map((model) =>
      generateTask({ execution, max_new_tokens: maxNewTokens }, { model, prompts: given }),
    ),
  );
  return prompts.map((prompt, i) => ({ prompt, continuations: answers.map((own) => own[i]) }));
}
